//! Running what a signal may end.

use std::process::ExitCode;

use super::{NoVerdict, exit};
use crate::drain::{EndSignal, EndSignals};

/// Runs `work` to its end; the signals are its own.
pub(super) fn block_on(
    work: impl AsyncFnOnce(EndSignals) -> Result<ExitCode, NoVerdict>,
) -> Result<ExitCode, NoVerdict> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(NoVerdict::System)?.block_on(async {
        let signals = EndSignals::install().and_then(EndSignals::with_hangup);
        work(signals.map_err(NoVerdict::System)?).await
    })
}

/// Does `work` to its end, or to the next signal.
pub(super) async fn until_signal(
    signals: &mut EndSignals,
    work: impl Future<Output = Result<ExitCode, NoVerdict>>,
) -> Result<ExitCode, NoVerdict> {
    tokio::select! {
        done = work => done,
        signal = signals.next() => Ok(ExitCode::from(match signal {
            EndSignal::Interrupt => exit::INTERRUPTED,
            EndSignal::Terminate => exit::TERMINATED,
        })),
    }
}
