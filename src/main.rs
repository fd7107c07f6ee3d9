//! Parse, dispatch, print the error, exit code.

use reglab::run::Interrupted;
use std::panic;
use std::process::exit;

fn main() {
    // `reglab report | head` ends quietly when head has seen enough, as other programs do.
    // SAFETY: the process has no other thread and no handler yet.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    // A shape error inside libtorch panics in the binding: the user gets one sentence, not a trace.
    panic::set_hook(Box::new(|_| {}));
    exit(match panic::catch_unwind(reglab::cli::main) {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => report(&error),
        Err(cause) => {
            eprintln!("error: {} (a defect in reglab: please report it)", reglab::first_line(cause.as_ref()));
            1
        }
    });
}

fn report(error: &anyhow::Error) -> i32 {
    if let Some(signal) = error.downcast_ref::<Interrupted>() {
        return signal.exit_code();
    }
    eprintln!("error: {error:#}");
    if error.is::<reglab::Usage>() { 2 } else { 1 }
}
