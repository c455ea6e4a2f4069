//! Stage graphs as people read them.

use std::fmt::Write;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use paceline_model::{ExchangeKind, Stage, StageGraph, StageProgress};

use crate::metrics::{MetricUnit, OperatorMetric};

/// The columns of `EXPLAIN`.
pub fn explain_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("plan_type", DataType::Utf8, false),
        Field::new("plan", DataType::Utf8, false),
    ]))
}

fn rows(pairs: &[(&str, String)]) -> RecordBatch {
    let types: ArrayRef = Arc::new(StringArray::from_iter_values(pairs.iter().map(|p| p.0)));
    let plans: ArrayRef = Arc::new(StringArray::from_iter_values(pairs.iter().map(|p| &p.1)));
    RecordBatch::try_new(explain_schema(), vec![types, plans])
        .unwrap_or_else(|_| RecordBatch::new_empty(explain_schema()))
}

/// `EXPLAIN`: the logical plan, and the stages with what each one runs.
pub(crate) fn explained_rows(logical: &str, graph: &StageGraph) -> RecordBatch {
    let mut text = String::new();
    for stage in graph.stages().iter().rev() {
        text.push_str(&heading(graph, stage));
        text.push('\n');
        for line in stage.text.lines() {
            let _ = writeln!(text, "  {line}");
        }
    }
    rows(&[
        ("logical_plan", logical.to_string()),
        ("stages", text.trim_end().to_string()),
    ])
}

/// `EXPLAIN ANALYZE`: the stages with their tasks, and each operator's metrics summed over tasks.
/// `metrics` has, for each stage, its operators depth first.
pub fn analyzed_rows(
    graph: &StageGraph,
    progress: &[StageProgress],
    metrics: &[Vec<Vec<OperatorMetric>>],
) -> RecordBatch {
    let mut text = String::new();
    for (index, stage) in graph.stages().iter().enumerate().rev() {
        text.push_str(&heading(graph, stage));
        if let Some(done) = progress.get(index) {
            let _ = write!(
                text,
                ", tasks={}, attempts={}, rows={}, bytes={}",
                done.tasks, done.attempts, done.rows, done.bytes
            );
        }
        text.push('\n');
        // The first line is the exchange that ends the stage; it is no operator.
        for (line_number, line) in stage.text.lines().enumerate() {
            let operators = metrics.get(index);
            let own = operators.and_then(|all| all.get(line_number.checked_sub(1)?));
            let _ = write!(text, "  {line}");
            match own {
                Some(own) if !own.is_empty() => {
                    let _ = writeln!(text, ", metrics=[{}]", list(own));
                }
                _ => text.push('\n'),
            }
        }
    }
    rows(&[("stages with metrics", text.trim_end().to_string())])
}

fn heading(graph: &StageGraph, stage: &Stage) -> String {
    let mut text = format!("stage {}: partitions={}", stage.id, stage.partitions);
    if let ExchangeKind::Hash { partitions } = stage.exchange {
        let _ = write!(text, ", exchange=hash({partitions})");
    } else if stage.id == graph.root().id {
        text.push_str(", result");
    } else {
        text.push_str(", exchange=forward");
    }
    if !stage.divisible {
        text.push_str(", one task");
    }
    text
}

fn list(metrics: &[OperatorMetric]) -> String {
    let shown: Vec<String> = metrics
        .iter()
        .map(|metric| match metric.unit {
            MetricUnit::Nanoseconds => {
                let time = std::time::Duration::from_nanos(metric.value);
                format!("{}={time:.2?}", metric.name)
            }
            _ => format!("{}={}", metric.name, metric.value),
        })
        .collect();
    shown.join(", ")
}
