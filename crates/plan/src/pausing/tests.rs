use arrow::util::pretty::pretty_format_batches;
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::NullEquality;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, col, lit};
use datafusion::physical_plan::joins::{
    HashJoinExecBuilder, NestedLoopJoinExecBuilder, PartitionMode,
};
use datafusion::physical_plan::{collect, displayable};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::{FutureExt, StreamExt};

use super::*;
use crate::metrics::operator_metrics;

const KINDS: [JoinType; 10] = [
    JoinType::Inner,
    JoinType::Left,
    JoinType::Right,
    JoinType::Full,
    JoinType::LeftSemi,
    JoinType::RightSemi,
    JoinType::LeftAnti,
    JoinType::RightAnti,
    JoinType::LeftMark,
    JoinType::RightMark,
];

fn context() -> SessionContext {
    SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1))
}

/// A table `t` of the numbers up to `rows`, with a key each.
async fn table(context: &SessionContext, key: &str, rows: usize) -> Arc<dyn ExecutionPlan> {
    let numbers =
        format!("select {key} as k, value as v from generate_series(1, {rows}) order by k");
    let table = format!("create table t as {numbers}");
    context.sql(&table).await.unwrap().collect().await.unwrap();
    planned(context, "select k, v from t").await
}

async fn planned(context: &SessionContext, sql: &str) -> Arc<dyn ExecutionPlan> {
    let frame = context.sql(sql).await.unwrap();
    frame.create_physical_plan().await.unwrap()
}

/// Whether all of a plan is computed before it pauses for the first time.
async fn runs_through(plan: &Arc<dyn ExecutionPlan>, context: &SessionContext) -> bool {
    // With all the batches before it that a task may take without a pause.
    tokio::task::yield_now().await;
    let mut rows = plan.execute(0, context.task_ctx()).unwrap();
    rows.next().now_or_never().is_some()
}

#[tokio::test]
async fn a_join_pauses_before_it_has_given_all_matches_of_a_batch() {
    let context = context();
    table(&context, "1", 2000).await;
    for sql in [
        "select sum(a.v + b.v) from t a join t b on a.k = b.k",
        "select sum(a.v + b.v) from t a join t b on a.v + b.v > a.k",
        "select sum(a.v + b.v) from t a cross join t b",
    ] {
        let plan = planned(&context, sql).await;
        assert!(runs_through(&plan, &context).await, "{sql}");
        let plan = pausing(planned(&context, sql).await).unwrap();
        assert!(!runs_through(&plan, &context).await, "{sql}");
    }
}

/// Pairs whose numbers add up to less than that.
fn less_than(most: i64) -> JoinFilter {
    let fields = ["l", "r"].map(|name| Field::new(name, DataType::Int64, true));
    let column = |index: usize| Arc::new(Column::new(fields[index].name(), index));
    let sum = BinaryExpr::new(column(0), Operator::Plus, column(1));
    let less = BinaryExpr::new(Arc::new(sum), Operator::Lt, lit(most));
    let columns = JoinFilter::build_column_indices(vec![1], vec![1]);
    let schema = Schema::new(fields.to_vec());
    JoinFilter::new(Arc::new(less), columns, Arc::new(schema))
}

type On = Vec<(Arc<dyn PhysicalExpr>, Arc<dyn PhysicalExpr>)>;

fn keys(table: &Arc<dyn ExecutionPlan>) -> On {
    let key = col("k", &table.schema()).unwrap();
    vec![(Arc::clone(&key), key)]
}

fn by_hash(
    table: &Arc<dyn ExecutionPlan>,
    kind: JoinType,
    filter: Option<JoinFilter>,
) -> HashJoinExecBuilder {
    let (left, right) = (Arc::clone(table), Arc::clone(table));
    HashJoinExecBuilder::new(left, right, keys(table), kind)
        .with_partition_mode(PartitionMode::CollectLeft)
        .with_filter(filter)
}

fn by_nested_loops(
    table: &Arc<dyn ExecutionPlan>,
    kind: JoinType,
    filter: Option<JoinFilter>,
) -> Arc<dyn ExecutionPlan> {
    let join = NestedLoopJoinExecBuilder::new(Arc::clone(table), Arc::clone(table), kind);
    Arc::new(join.with_filter(filter).build().unwrap())
}

fn by_merging(
    table: &Arc<dyn ExecutionPlan>,
    kind: JoinType,
    filter: JoinFilter,
) -> Arc<dyn ExecutionPlan> {
    let join = SortMergeJoinExec::try_new(
        Arc::clone(table),
        Arc::clone(table),
        keys(table),
        Some(filter),
        kind,
        vec![SortOptions::default()],
        NullEquality::NullEqualsNothing,
    );
    Arc::new(join.unwrap())
}

/// Joins of a table with itself that may give fewer rows than they try pairs. Made by hand, because
/// planning chooses sides and operators.
fn joins(table: &Arc<dyn ExecutionPlan>, most: i64) -> Vec<Arc<dyn ExecutionPlan>> {
    let mut all = Vec::new();
    for kind in KINDS {
        let filter = Some(less_than(most));
        all.push(by_hash(table, kind, filter.clone()).build_exec().unwrap());
        all.push(by_nested_loops(table, kind, filter));
        all.push(by_merging(table, kind, less_than(most)));
    }
    for kind in KINDS.into_iter().filter(|kind| gives_one_side(*kind)) {
        all.push(by_hash(table, kind, None).build_exec().unwrap());
        all.push(by_nested_loops(table, kind, None));
    }
    let not_in = by_hash(table, JoinType::LeftAnti, None).with_null_aware(true);
    all.push(not_in.build_exec().unwrap());
    all
}

fn text(plan: &Arc<dyn ExecutionPlan>) -> String {
    displayable(plan.as_ref()).indent(false).to_string()
}

#[tokio::test]
async fn a_join_pauses_while_it_tries_pairs_and_gives_nothing() {
    let context = context();
    let table = table(&context, "1", 1500).await;
    for (whole, again) in joins(&table, 0).into_iter().zip(joins(&table, 0)) {
        let join = text(&whole);
        assert!(runs_through(&whole, &context).await, "{join}");
        let task = pausing(again).unwrap();
        assert!(!runs_through(&task, &context).await, "{join}");
    }
}

/// Which operators have metrics.
fn measured(stage: &Arc<dyn ExecutionPlan>, task: &Arc<dyn ExecutionPlan>) -> Vec<bool> {
    let all = operator_metrics(stage, task);
    all.iter().map(|metrics| !metrics.is_empty()).collect()
}

async fn rows(plan: &Arc<dyn ExecutionPlan>, context: &SessionContext) -> Vec<String> {
    let batches = collect(Arc::clone(plan), context.task_ctx()).await.unwrap();
    let shown = pretty_format_batches(&batches).unwrap().to_string();
    let mut lines: Vec<_> = shown.lines().map(str::to_string).collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn joins_that_try_pairs_in_portions_give_the_same_rows_and_are_measured() {
    let context = context();
    let table = table(&context, "value % 7", 500).await;
    for (stage, again) in joins(&table, 300).into_iter().zip(joins(&table, 300)) {
        let task = pausing(again).unwrap();
        let plan = text(&task);
        assert!(plan.contains("PortionsExec"), "{plan}");
        let expected = rows(&stage, &context).await;
        assert_eq!(rows(&task, &context).await, expected, "{plan}");
        assert_eq!(measured(&stage, &task), measured(&stage, &stage), "{plan}");
    }
}
