//! SIGINT, SIGTERM and SIGUSR1: finish the step, write a checkpoint, mark the run interrupted, exit 130, 143 or 75. SIGUSR1 is
//! how a cluster says that the time is nearly over; 75 (EX_TEMPFAIL) asks the caller to start the same again.

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

static FLAGS: OnceLock<[(i32, Arc<AtomicBool>); 3]> = OnceLock::new();

/// The run was asked to stop.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("stopped by {}", name(*.0))]
pub struct Interrupted(pub i32);

impl Interrupted {
    pub fn exit_code(self) -> i32 {
        if self.wants_more_time() { 75 } else { 128 + self.0 }
    }

    /// Whether the caller is asked to start the same again.
    pub fn wants_more_time(self) -> bool {
        self.0 == SIGUSR1
    }
}

fn name(signal: i32) -> &'static str {
    match signal {
        SIGINT => "Ctrl-C",
        SIGUSR1 => "SIGUSR1",
        _ => "SIGTERM",
    }
}

/// From now on the first signal only asks; a second SIGINT or SIGTERM ends the process at once.
pub fn install() {
    FLAGS.get_or_init(|| {
        [SIGINT, SIGTERM, SIGUSR1].map(|signal| {
            let flag = Arc::new(AtomicBool::new(false));
            if signal != SIGUSR1 {
                signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, flag.clone())
                    .expect("SIGINT and SIGTERM can be handled");
            }
            signal_hook::flag::register(signal, flag.clone()).expect("the signal can be handled");
            (signal, flag)
        })
    });
}

pub fn pending() -> Option<Interrupted> {
    let flags = FLAGS.get()?;
    flags.iter().find(|(_, flag)| flag.load(Ordering::Relaxed)).map(|(signal, _)| Interrupted(*signal))
}
