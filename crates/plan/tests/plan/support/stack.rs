//! Threads like those of a process that serves.

use std::panic::resume_unwind;
use std::thread::Builder;

use paceline_plan::STACK_BYTES;

/// Runs a test on a thread with the stack of those that plan statements and run plans.
pub(crate) fn with_serving_stack<F: Future<Output = ()>>(
    test: impl FnOnce() -> F + Send + 'static,
) {
    let run = move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        runtime.block_on(test());
    };
    let thread = Builder::new().stack_size(STACK_BYTES).spawn(run).unwrap();
    if let Err(panic) = thread.join() {
        resume_unwind(panic);
    }
}
