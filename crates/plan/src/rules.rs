//! The rules by which physical plans are made better: DataFusion's, and a few of ours among them.

use std::sync::Arc;

use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;

use crate::joins::PartitionUnsafeJoins;
use crate::window_limits::LimitsAboveWindows;

/// DataFusion's rules, with ours before it is decided what is sorted and merged.
pub(crate) fn rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    let before = rules
        .iter()
        .position(|rule| rule.name() == "EnsureRequirements")
        .unwrap_or(0);
    rules.insert(before, Arc::new(LimitsAboveWindows));
    rules
}

/// The same, with another one of ours where joins are chosen but nothing is distributed yet.
pub(crate) fn staged_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = rules();
    let after = rules
        .iter()
        .position(|rule| rule.name() == "join_selection")
        .map_or(0, |position| position + 1);
    rules.insert(after, Arc::new(PartitionUnsafeJoins));
    rules
}
