//! Readers that panic at a file that is spoilt badly enough. One file must not take a process, or a
//! query of somebody else's, with it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use datafusion::common::{DataFusionError, Result, exec_datafusion_err};
use futures::{FutureExt, Stream, StreamExt};

fn error(panic: Box<dyn Any + Send>) -> DataFusionError {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    exec_datafusion_err!(
        "the file is corrupt: {}",
        text.unwrap_or("it cannot be read")
    )
}

/// Makes an error of a panic. What the reader left behind is not used again.
pub(crate) fn caught<T>(read: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| Err(error(panic)))
}

/// The same for what is awaited.
pub(crate) async fn caught_in<T>(read: impl Future<Output = Result<T>>) -> Result<T> {
    let read = AssertUnwindSafe(read).catch_unwind().await;
    read.unwrap_or_else(|panic| Err(error(panic)))
}

/// The same for a stream, which ends there.
pub(crate) fn caught_among<T>(
    rows: impl Stream<Item = Result<T>>,
) -> impl Stream<Item = Result<T>> {
    let rows = AssertUnwindSafe(rows).catch_unwind();
    rows.map(|item| item.unwrap_or_else(|panic| Err(error(panic))))
}
