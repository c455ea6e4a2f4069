//! The processes of the demo, and connections to them.

use paceline_testkit::{Cluster, ClusterPlan, Dataset, Scale};
use tempfile::TempDir;

use super::Arguments;
use super::progress;
use super::reference::ReferenceProcess;
use crate::Failure;
use crate::client::{Flight, Http};
use crate::config::Configuration;
use crate::serve::memory::available_memory;

/// One scheduler, as a client has it.
pub(super) struct Door {
    pub(super) flight: Flight,
    pub(super) http: Http,
}

/// Everything that the demo starts; it ends with this value.
pub(super) struct Stage {
    pub(super) cluster: Cluster,
    pub(super) doors: Vec<Door>,
    pub(super) reference: ReferenceProcess,
    pub(super) directory: TempDir,
}

impl Stage {
    pub(super) async fn set(arguments: &Arguments, dataset: &Dataset) -> Result<Stage, Failure> {
        let directory = tempfile::Builder::new()
            .prefix("paceline-demo-")
            .tempdir()
            .map_err(Failure::while_doing("cannot make a temporary directory"))?;
        let program = std::env::current_exe()
            .map_err(Failure::while_doing("cannot find this program's own file"))?;
        progress::say(&format!(
            "starting {} schedulers, {} executors with {} slots each, and one DataFusion with {} partitions",
            arguments.schedulers,
            arguments.executors,
            arguments.slots_per_executor(),
            Arguments::cores()
        ));
        let plan = plan(arguments, &program, directory.path());
        let cluster = match Cluster::start(plan).await {
            Ok(cluster) => cluster,
            Err(error) => return Err(kept(error.into(), directory)),
        };
        let mut doors = Vec::new();
        for scheduler in cluster.schedulers() {
            let announced = scheduler.announced();
            doors.push(Door {
                flight: Flight::connect(&announced.flight).await?,
                http: Http::new(&announced.http),
            });
        }
        let reference = ReferenceProcess::start(&program, dataset, directory.path()).await?;
        Ok(Stage {
            cluster,
            doors,
            reference,
            directory,
        })
    }

    /// Which of the schedulers has that turn, and the way to it.
    pub(super) fn door(&mut self, turn: usize) -> Result<(usize, &mut Door), Failure> {
        in_turn(&mut self.doors, turn)
    }

    /// Makes the tables known through the first scheduler; the others know them from then on.
    pub(super) async fn create_tables(&mut self, dataset: &Dataset) -> Result<(), Failure> {
        let (_, door) = self.door(0)?;
        for statement in dataset.create_statements() {
            door.flight.run(&statement).await?;
        }
        Ok(())
    }

    /// Ends all processes in order. If something failed, their logs stay.
    pub(super) async fn strike(self, outcome: Result<(), Failure>) -> Result<(), Failure> {
        let Stage {
            mut cluster,
            doors,
            reference,
            directory,
        } = self;
        drop((doors, reference));
        let ended = cluster.shut_down().await;
        match outcome.and(ended.map_err(Failure::from)) {
            Ok(()) => Ok(()),
            Err(failure) => Err(kept(failure, directory)),
        }
    }
}

/// One after the other, and then from the first one again. That there is none is a failure: what would be
/// asked there would otherwise count as done.
fn in_turn<T>(doors: &mut [T], turn: usize) -> Result<(usize, &mut T), Failure> {
    let which = turn % doors.len().max(1);
    match doors.get_mut(which) {
        Some(door) => Ok((which, door)),
        None => Err(Failure::new(
            "no scheduler can be asked: start the demo with one at least",
        )),
    }
}

fn plan(
    arguments: &Arguments,
    program: &std::path::Path,
    directory: &std::path::Path,
) -> ClusterPlan {
    let mut plan = ClusterPlan::new(program, directory);
    plan.schedulers = usize::from(arguments.schedulers);
    plan.executors = usize::from(arguments.executors);
    plan.slots = arguments.slots_per_executor();
    let log = ["--log-level".to_string(), arguments.log_level.clone()];
    plan.scheduler_flags.extend(log.clone());
    plan.executor_flags.extend(log);
    // When the demo ends, everybody has had an answer; what a client that turned elsewhere began is not
    // waited for.
    let drain = ["--executor-drain-timeout".to_string(), "5s".to_string()];
    plan.executor_flags.extend(drain);
    let mut of_schedulers = |flag: &str, value: String| {
        plan.scheduler_flags.extend([flag.to_string(), value]);
    };
    if arguments.chaos {
        // However small the tables, there is something to adopt: every plan is cut, and every query goes
        // into its owner's journal at once.
        of_schedulers("--scheduler-small-plan-bytes", "0".to_string());
        of_schedulers("--scheduler-linger", "0s".to_string());
    } else if let Some(bytes) = small_plan(arguments.scale) {
        of_schedulers("--scheduler-small-plan-bytes", bytes.to_string());
    }
    // All of them share this machine.
    let memory = available_memory().0 / 10 * 7 / u64::from(arguments.executors);
    plan.executor_flags
        .extend(["--executor-memory-limit".to_string(), memory.to_string()]);
    plan
}

/// What counts as a small plan of smaller tables than those of scale 1: the same part of them, so that the
/// same queries are cut into stages, however small the scale. For others the default holds.
fn small_plan(scale: Scale) -> Option<u64> {
    let usual = Configuration::default().scheduler.small_plan_bytes;
    let part = scale.factor();
    (part < 1.0).then_some((usual.0 as f64 * part) as u64)
}

fn kept(failure: Failure, directory: TempDir) -> Failure {
    let path = directory.keep();
    let logs = path.join("logs");
    Failure::new(format!(
        "{failure}\nthe logs of all processes are in {}",
        logs.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_small_is_so_in_proportion_to_the_tables() {
        let of = |scale| small_plan(Scale::new(scale).unwrap());
        assert_eq!(of(0.5), Some(16 << 20));
        assert_eq!(of(0.01), Some(335_544));
        assert_eq!((of(1.0), of(10.0)), (None, None));
    }

    #[test]
    fn turns_go_round_and_never_to_nobody() {
        fn taken(doors: &mut [char], turn: usize) -> Option<(usize, char)> {
            let (which, door) = in_turn(doors, turn).ok()?;
            Some((which, *door))
        }
        for (turn, expected) in [(0, (0, 'a')), (3, (1, 'b')), (4, (0, 'a'))] {
            assert_eq!(taken(&mut ['a', 'b'], turn), Some(expected));
        }
        assert_eq!(taken(&mut [], 3), None);
    }
}
