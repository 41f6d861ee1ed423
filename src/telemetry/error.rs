//! An error as one line.

use std::error::Error;

/// What an error says, and what each of its causes says that was not said before.
#[must_use]
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{said}")]
    struct Says {
        said: &'static str,
        #[source]
        cause: io::Error,
    }

    #[test]
    fn a_cause_that_was_said_before_is_not_said_again() {
        let of = |said| with_causes(&Says { said, cause: io::Error::other("no route") });
        assert_eq!(of("connect to a:80"), "connect to a:80: no route");
        assert_eq!(of("connect to a:80: no route, three times"), "connect to a:80: no route, three times");
    }
}
