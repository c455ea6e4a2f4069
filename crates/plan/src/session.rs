//! Settings of a session, and the two ways in which a statement is planned.

use std::collections::BTreeMap;

use datafusion::common::config::OptimizerOptions;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::config::SessionConfig;

/// Settings that differ from the defaults, by their full names (`datafusion.execution.batch_size`).
/// They travel with a query wherever it goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionSettings(pub BTreeMap<String, String>);

/// A join's build side up to this size, by estimate, is sent whole to every task instead of both
/// sides being divided by their keys. In one process that only pays for very small ones (DataFusion:
/// 1 MiB); between processes the other side, mostly much larger, then stays where it is. On TPC-H at
/// scale 1 with two executors it halves the time of the queries that join orders with lineitem.
const BROADCAST_BYTES: usize = 32 << 20;

/// The same where only a number of rows is known.
const BROADCAST_ROWS: usize = 2_000_000;

/// Every operator above an exchange has something of its own for each partition: with more of them than
/// this it would be memory that nobody has reserved.
const MOST_TARGET_PARTITIONS: usize = 1 << 14;

/// Of the settings that sessions may change, those that Paceline itself reads.
pub(crate) const SMALL_PLAN_BYTES: &str = "paceline.small_plan_bytes";

fn base_config() -> SessionConfig {
    SessionConfig::new()
        .with_information_schema(true)
        .with_default_catalog_and_schema("paceline", "public")
}

impl SessionSettings {
    /// Checks names and values.
    ///
    /// # Errors
    /// Names the setting that is unknown or has no such value.
    pub fn validate(&self) -> Result<()> {
        self.apply(base_config()).map(drop)
    }

    fn apply(&self, mut config: SessionConfig) -> Result<SessionConfig> {
        let usual = config.options().execution.target_partitions;
        // More would let a statement overflow the stack that it is parsed on.
        let most = config.options().sql_parser.recursion_limit.get();
        for (name, value) in &self.0 {
            if name.starts_with("datafusion.") {
                let set = config.options_mut().set(name, value);
                // DataFusion names a part of an unknown setting, and none that has no such value.
                set.map_err(|e| e.context(format!("cannot set {name}")))?;
            } else if name == SMALL_PLAN_BYTES {
                value
                    .parse::<paceline_model::ByteSize>()
                    .map_err(|e| DataFusionError::Configuration(format!("{name}: {e}")))?;
            } else {
                return Err(DataFusionError::Configuration(format!(
                    "there is no setting '{name}'; SHOW ALL lists them"
                )));
            }
        }
        let brackets = config.options().sql_parser.recursion_limit.get();
        if brackets > most {
            return Err(DataFusionError::Configuration(format!(
                "datafusion.sql_parser.recursion_limit is {brackets}, and at most {most} is possible"
            )));
        }
        let partitions = config.options().execution.target_partitions;
        if partitions > MOST_TARGET_PARTITIONS.max(usual) {
            return Err(DataFusionError::Configuration(format!(
                "datafusion.execution.target_partitions is {partitions}, and at most \
                 {MOST_TARGET_PARTITIONS} are possible"
            )));
        }
        Ok(config)
    }

    /// Those that say what a text means: which schema it is about, and how it is to be read. Who keeps
    /// the text keeps them with it.
    pub(crate) fn of_text(&self) -> SessionSettings {
        let kept = self.0.iter().filter(|(name, _)| {
            name.starts_with("datafusion.catalog.") || name.starts_with("datafusion.sql_parser.")
        });
        let kept = kept.map(|(name, value)| (name.clone(), value.clone()));
        SessionSettings(kept.collect())
    }

    /// How a plan that one task runs is made: as for a single process.
    pub(crate) fn single_config(&self, slots: usize) -> Result<SessionConfig> {
        let config = base_config().with_target_partitions(slots.max(1));
        let mut config = self.apply(config)?;
        let optimizer = &mut config.options_mut().optimizer;
        connected_later(optimizer);
        encodable(optimizer);
        Ok(config)
    }

    /// How a plan that is cut into stages is made.
    pub(crate) fn staged_config(&self, partitions: usize) -> Result<SessionConfig> {
        let mut config = base_config().with_target_partitions(partitions.max(1));
        let optimizer = &mut config.options_mut().optimizer;
        optimizer.hash_join_single_partition_threshold = BROADCAST_BYTES;
        optimizer.hash_join_single_partition_threshold_rows = BROADCAST_ROWS;
        let mut config = self.apply(config)?;
        let optimizer = &mut config.options_mut().optimizer;
        connected_later(optimizer);
        encodable(optimizer);
        // Rows only change partitions where an exchange makes them; scans are divided at once.
        optimizer.enable_round_robin_repartition = false;
        optimizer.prefer_existing_sort = false;
        Ok(config)
    }

    /// What a task's operators see.
    pub(crate) fn task_config(&self) -> Result<SessionConfig> {
        self.apply(base_config())
    }

    pub(crate) fn small_plan_bytes(&self, default: u64) -> u64 {
        self.0
            .get(SMALL_PLAN_BYTES)
            .and_then(|text| text.parse::<paceline_model::ByteSize>().ok())
            .map_or(default, |size| size.0)
    }
}

/// Filters that operators build while they run are connected within each task, after its plan was
/// narrowed: see `StagePlan::for_range`. In a plan that is still to be cut, the two ends of such a
/// filter could land in different processes.
fn connected_later(optimizer: &mut OptimizerOptions) {
    optimizer.enable_dynamic_filter_pushdown = false;
    optimizer.enable_join_dynamic_filter_pushdown = false;
    optimizer.enable_topk_dynamic_filter_pushdown = false;
    optimizer.enable_aggregate_dynamic_filter_pushdown = false;
}

/// DataFusion does not encode this operator; without it, nested loops do its work.
fn encodable(optimizer: &mut OptimizerOptions) {
    optimizer.enable_piecewise_merge_join = false;
}
