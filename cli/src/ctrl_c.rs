//! Ctrl-C while a command waits for what goes on without it.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// The exit code of a command that Ctrl-C ended, as a shell would report it.
const INTERRUPTED: i32 = 130;

/// What is said where Ctrl-C ends the command. Dropped, nothing is said any more, and Ctrl-C still ends it.
pub(super) struct LastWords(Arc<Mutex<Option<String>>>);

impl LastWords {
    /// From now on Ctrl-C ends the process with these words on stderr, and with exit code 130.
    pub(super) fn on_interrupt(words: String) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let mut interrupt = {
            let _entered = runtime.enter();
            signal(SignalKind::interrupt())?
        };
        let words = Arc::new(Mutex::new(Some(words)));
        let kept = Arc::clone(&words);
        std::thread::spawn(move || {
            runtime.block_on(interrupt.recv());
            if let Some(words) = kept.lock().unwrap_or_else(PoisonError::into_inner).take() {
                // There is nowhere left to say that stderr is closed.
                let _ = writeln!(std::io::stderr(), "muster: {words}");
            }
            std::process::exit(INTERRUPTED);
        });
        Ok(Self(words))
    }
}

impl Drop for LastWords {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
