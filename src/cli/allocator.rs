//! How glibc's allocator is to give memory back. It reads that when a program begins, so one that
//! serves for long is started anew with it (`execve`: the same process). Other allocators know
//! nothing of it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The variable of which glibc reads its settings.
const GLIBC_TUNABLES: &str = "GLIBC_TUNABLES";

/// From this size on, which is glibc's own first value, the system is asked for memory, and it goes
/// back there when it is freed. Unless it is set, glibc makes it larger with what is freed, up to
/// 32 MiB, and keeps what long messages have needed. `net::arena` takes memory in this size.
const MMAP_THRESHOLD: &str = "glibc.malloc.mmap_threshold";

/// How much is kept at the end of a heap, so that it is not given back and taken again all the
/// time.
const TRIM_THRESHOLD: &str = "glibc.malloc.trim_threshold";

/// The process that was started anew. glibc takes its own variable away from programs with
/// capabilities of their file.
const RESTARTED: &str = "WEBSOCKETS_CLI_RESTARTED";

/// Our settings, and behind them those that the user has made: of two for the same the last counts.
fn settings(users: Option<OsString>) -> OsString {
    let mut all = OsString::from(format!("{MMAP_THRESHOLD}=131072:{TRIM_THRESHOLD}=1048576"));
    if let Some(users) = users {
        all.push(":");
        all.push(users);
    }
    all
}

/// The environment that a new image of the program gets for it: a variable and its value.
pub(super) fn environment() -> (&'static str, OsString) {
    (GLIBC_TUNABLES, settings(std::env::var_os(GLIBC_TUNABLES)))
}

/// Starts the program anew with the settings, unless it was started with them. Returns where it
/// was, and where that cannot be done: the program serves as well then, and keeps more memory.
pub(super) fn begin_with_settings() {
    let users = std::env::var_os(GLIBC_TUNABLES);
    let is_set = users.as_ref().is_some_and(|set| set.to_string_lossy().contains(MMAP_THRESHOLD));
    let process = std::process::id().to_string();
    let is_restarted = std::env::var(RESTARTED).is_ok_and(|restarted| restarted == process);
    if !cfg!(target_env = "gnu") || is_set || is_restarted {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut arguments = std::env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    let error = command.args(arguments).env(GLIBC_TUNABLES, settings(users)).env(RESTARTED, process).exec();
    tracing::debug!("the program is not started anew with settings for the allocator: {error}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_has_set_comes_last_and_counts() {
        let ours = "glibc.malloc.mmap_threshold=131072:glibc.malloc.trim_threshold=1048576";
        assert_eq!(settings(None), ours);
        let users = "glibc.malloc.check=3";
        assert_eq!(settings(Some(users.into())), *format!("{ours}:{users}"));
    }
}
