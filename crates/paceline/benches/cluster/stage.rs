//! A cluster with the tables of TPC-H, and ways to ask its schedulers.

use std::ops::ControlFlow;
use std::path::Path;

use paceline::client::{Flight, Http};
use paceline_testkit::{Announced, Cluster, ClusterPlan, Dataset, Scale};
use tempfile::TempDir;

/// Why a bench came to nothing, or what was not as it must be.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A cluster in a directory of its own; both go with this value.
pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    _directory: TempDir,
}

impl Stage {
    /// Starts what a plan says, and makes TPC-H known to it.
    pub(crate) async fn set(
        scale: f64,
        shape: impl FnOnce(&mut ClusterPlan),
    ) -> Result<Stage, Failure> {
        let directory = tempfile::tempdir()?;
        let mut plan = ClusterPlan::new(env!("CARGO_BIN_EXE_paceline"), directory.path());
        plan.executor_flags = words("--executor-memory-limit 2GiB");
        shape(&mut plan);
        let stage = Stage {
            cluster: Cluster::start(plan).await?,
            _directory: directory,
        };
        let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let scale = Scale::new(scale)?;
        let data = Dataset::find_or_generate(parent, scale, 2, &|_| ControlFlow::Continue(()))?;
        let mut flight = stage.flight(0).await?;
        for statement in data.create_statements() {
            flight.run(&statement).await?;
        }
        Ok(stage)
    }

    /// Where a scheduler is reached past its proxies, if it has any.
    pub(crate) fn addresses(&self, scheduler: usize) -> Announced {
        self.cluster.schedulers()[scheduler].past_doors()
    }

    pub(crate) async fn flight(&self, scheduler: usize) -> Result<Flight, Failure> {
        Ok(Flight::connect(&self.addresses(scheduler).flight).await?)
    }

    pub(crate) fn http(&self, scheduler: usize) -> Http {
        Http::new(&self.addresses(scheduler).http)
    }
}

/// Flags in one line.
pub(crate) fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(String::from).collect()
}
