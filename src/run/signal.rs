//! SIGINT and SIGTERM: finish the step, write a checkpoint, mark the run interrupted, exit 130 or 143.

use signal_hook::consts::{SIGINT, SIGTERM};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

static FLAGS: OnceLock<[(i32, Arc<AtomicBool>); 2]> = OnceLock::new();

/// The run was asked to stop.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("stopped by {}", if *.0 == SIGINT { "Ctrl-C" } else { "SIGTERM" })]
pub struct Interrupted(pub i32);

impl Interrupted {
    pub fn exit_code(self) -> i32 {
        128 + self.0
    }
}

/// From now on the first signal only asks; a second one ends the process at once.
pub fn install() {
    FLAGS.get_or_init(|| {
        [SIGINT, SIGTERM].map(|signal| {
            let flag = Arc::new(AtomicBool::new(false));
            let shutdown = signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, flag.clone());
            let remember = signal_hook::flag::register(signal, flag.clone());
            shutdown.and(remember).expect("SIGINT and SIGTERM can be handled");
            (signal, flag)
        })
    });
}

pub fn pending() -> Option<Interrupted> {
    let flags = FLAGS.get()?;
    flags.iter().find(|(_, flag)| flag.load(Ordering::Relaxed)).map(|(signal, _)| Interrupted(*signal))
}
