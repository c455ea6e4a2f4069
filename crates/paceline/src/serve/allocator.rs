//! What the allocator does with memory that is free again.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// What mimalloc reads from the environment when a process starts, and what executors choose.
const SETTINGS: [(&str, &str); 2] = [
    // Milliseconds for which pages that hold nothing are kept. Long enough for the buffers of a scan to
    // be used again by its next batches, and for those of a task by the next one.
    ("MIMALLOC_PURGE_DELAY", "50"),
    // Allocations of a thread, of those that need more than its free list, between two looks at what
    // other threads have freed of its pages. Rows are mostly freed by another thread than made them.
    ("MIMALLOC_GENERIC_COLLECT", "1000"),
];

/// Starts this program anew, in its place, with an allocator that soon gives free pages back, unless
/// somebody has chosen how it does.
///
/// Executors hold a stage's outputs and drop them all together. By default those pages stay with the
/// process for a second, and much longer where other threads freed what is in them, beside the pages
/// that the next stage fills: executors peak higher. Without any delay, however, most buffers of most
/// batches are new pages, which the kernel has to clear first. The 22 queries of TPC-H at scale 1,
/// three times each on two executors with one slot, by delay and allocations between two looks
/// (seconds in the kernel per round, peak of both executors):
///
/// | delay | looks every | kernel | peak |
/// |---|---|---|---|
/// | 1 ms | 10000 (the default) | 4.4 to 4.7 s | 951 to 978 MiB |
/// | 10 ms | 1000 | 3.1 to 4.3 s | 861 to 874 MiB |
/// | 30 ms | 1000 | 3.2 to 3.7 s | 857 to 890 MiB |
/// | 100 ms | 1000 | 2.7 to 3.0 s | 947 to 970 MiB |
///
/// With 50 ms, in between, the demo with two executors measured 1.14 to 1.21 times the time of one process
/// and 1.14 to 1.32 times its memory.
pub(super) fn give_back_soon() {
    let missing: Vec<_> = SETTINGS
        .into_iter()
        .filter(|(name, _)| std::env::var_os(name).is_none())
        .collect();
    if missing.is_empty() {
        return;
    }
    let Ok(own) = std::env::current_exe() else {
        return;
    };
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    // Only a failure returns; then this process serves as it is.
    let failure = Command::new(own)
        .arg0(&name)
        .args(arguments)
        .envs(missing)
        .exec();
    eprintln!("paceline: serving with the allocator's defaults: {failure}");
}
