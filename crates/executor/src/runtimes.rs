//! Two sets of threads: one for the network, one for queries.
//!
//! A join that computes for seconds without yielding must not hold up a heartbeat, or a scheduler
//! would take a busy executor for a dead one. So control streams, the data plane and timers live
//! on the network threads, and whatever touches rows lives on the query threads.

use paceline_plan::STACK_BYTES;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::StartError;

/// Enough for the control streams and for raw bytes; compression happens on the query threads.
const NETWORK_THREADS: usize = 2;

#[derive(Debug)]
pub(crate) struct Runtimes {
    network: Option<Runtime>,
    query: Option<Runtime>,
    pub(crate) network_handle: Handle,
    pub(crate) query_handle: Handle,
}

impl Runtimes {
    pub(crate) fn start(slots: u32) -> Result<Self, StartError> {
        let network = build("network", NETWORK_THREADS, None)?;
        let slots = usize::try_from(slots).unwrap_or(1);
        let query = build("query", slots, Some(STACK_BYTES))?;
        Ok(Runtimes {
            network_handle: network.handle().clone(),
            query_handle: query.handle().clone(),
            network: Some(network),
            query: Some(query),
        })
    }
}

fn build(name: &'static str, threads: usize, stack: Option<usize>) -> Result<Runtime, StartError> {
    let mut builder = Builder::new_multi_thread();
    builder
        .worker_threads(threads)
        .thread_name(format!("paceline-{name}"))
        .enable_all();
    if let Some(bytes) = stack {
        builder.thread_stack_size(bytes);
    }
    builder.build().map_err(|source| StartError::Threads {
        runtime: name,
        source,
    })
}

impl Drop for Runtimes {
    /// In the background: an executor may be dropped inside another runtime, where waiting for
    /// threads to end is not allowed.
    fn drop(&mut self) {
        for runtime in [self.query.take(), self.network.take()]
            .into_iter()
            .flatten()
        {
            runtime.shutdown_background();
        }
    }
}
