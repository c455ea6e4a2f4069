//! Operators' metrics, summed over the tasks of a stage.

use std::collections::BTreeMap;

use paceline_model::{StageId, TaskId};
use paceline_plan::OperatorMetric;

/// What the counted attempt of each task of each stage reported.
#[derive(Debug, Default)]
pub(crate) struct Operators {
    tasks: BTreeMap<(StageId, TaskId), Vec<Vec<OperatorMetric>>>,
}

impl Operators {
    /// Takes in a finished attempt; a later attempt of a task takes the place of an earlier one.
    pub(crate) fn record(
        &mut self,
        stage: StageId,
        task: TaskId,
        operators: Vec<Vec<OperatorMetric>>,
    ) {
        self.tasks.insert((stage, task), operators);
    }

    /// For each of so many stages its operators depth first, each with its metrics.
    pub(crate) fn by_stage(&self, stages: usize) -> Vec<Vec<Vec<OperatorMetric>>> {
        let mut all: Vec<Vec<Vec<OperatorMetric>>> = vec![Vec::new(); stages];
        for ((stage, _), operators) in &self.tasks {
            let Some(sums) = all.get_mut(stage.0 as usize) else {
                continue;
            };
            if sums.len() < operators.len() {
                sums.resize(operators.len(), Vec::new());
            }
            for (sum, metrics) in sums.iter_mut().zip(operators) {
                add(sum, metrics);
            }
        }
        all
    }
}

fn add(sum: &mut Vec<OperatorMetric>, metrics: &[OperatorMetric]) {
    for metric in metrics {
        match sum.iter_mut().find(|known| known.name == metric.name) {
            Some(known) => known.value = known.value.saturating_add(metric.value),
            None => sum.push(metric.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use paceline_plan::MetricUnit;

    use super::*;

    fn rows(value: u64) -> Vec<Vec<OperatorMetric>> {
        vec![vec![OperatorMetric {
            name: "output_rows".to_string(),
            value,
            unit: MetricUnit::Count,
        }]]
    }

    #[test]
    fn tasks_are_summed_and_repeated_attempts_counted_once() {
        let mut operators = Operators::default();
        operators.record(StageId(1), TaskId(0), rows(5));
        operators.record(StageId(1), TaskId(1), rows(7));
        operators.record(StageId(1), TaskId(0), rows(6));
        let all = operators.by_stage(2);
        assert!(all[0].is_empty());
        assert_eq!(all[1], rows(13));
    }
}
