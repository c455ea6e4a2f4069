//! From a statement's text to what a scheduler does about it.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, collect};
use paceline_model::{ByteSize, QueryError, StageGraph};
use url::Url;

use crate::catalog::Catalog;
use crate::cut::{cut, uncut};
use crate::engine::Engine;
use crate::error::classify;
use crate::explain::{explain_schema, explained_rows};
use crate::logical::logical_plan;
use crate::new_table::name_taken;
use crate::own_tables::{knows_itself, materialize};
use crate::scan::scan_bytes;
use crate::session::SessionSettings;
use crate::shape::{Shape, planning_state};
use crate::spare::Planning;
use crate::statement::{Change, change};
use crate::writing::{WriteInto, Writing, count_schema, writes};

/// What planning depends on beside the statement.
#[derive(Debug, Clone, Copy)]
pub struct PlannerOptions {
    /// Plans that scan no more than this run as one task on one executor.
    pub small_plan: ByteSize,
    /// A stage whose plan takes more than this is refused: no message would carry it to an executor.
    pub largest_stage: ByteSize,
}

impl Default for PlannerOptions {
    fn default() -> Self {
        PlannerOptions {
            small_plan: ByteSize::mib(32),
            largest_stage: ByteSize::mib(128),
        }
    }
}

/// A statement, planned.
#[derive(Debug)]
pub enum Planned {
    /// Executors run it.
    Query(QueryPlan),
    /// The scheduler knew the answer.
    Rows {
        /// The columns.
        schema: SchemaRef,
        /// The rows.
        batches: Vec<RecordBatch>,
    },
    /// The catalog is to change.
    Change(Change),
    /// Executors write files, which then become part of something.
    Write {
        /// The stages; the rows of the last one are a list of files.
        plan: QueryPlan,
        /// What becomes of the files.
        into: WriteInto,
    },
}

/// A query that executors run.
#[derive(Debug, Clone)]
pub struct QueryPlan {
    /// Its stages.
    pub graph: Arc<StageGraph>,
    /// The columns of its rows.
    pub schema: SchemaRef,
    /// The settings that its tasks run under.
    pub settings: SessionSettings,
    /// Whether the answer is not its rows but how it ran: `EXPLAIN ANALYZE`.
    pub analyze: bool,
}

/// What a statement would answer with.
#[derive(Debug, Clone)]
pub(crate) struct Described {
    pub(crate) schema: SchemaRef,
    pub(crate) parameters: Vec<(String, Option<DataType>)>,
}

/// Plans statements. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Planner {
    engine: Engine,
    options: PlannerOptions,
    data: Option<Url>,
}

impl Planner {
    /// A planner with the functions and object stores of `engine`.
    pub fn new(engine: Engine, options: PlannerOptions) -> Self {
        Planner {
            engine,
            options,
            data: None,
        }
    }

    /// The same planner with a place for the files of managed tables.
    #[must_use]
    pub fn storing_at(mut self, data: Option<Url>) -> Self {
        self.data = data;
        self
    }

    /// The engine that it plans with.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Plans one statement for executors that have so many slots each; there may be none yet.
    ///
    /// # Errors
    /// What is wrong with the statement, or with what it names.
    pub async fn plan(
        &self,
        sql: &str,
        parameters: Vec<ScalarValue>,
        settings: &SessionSettings,
        catalog: &Catalog,
        slots: &[u32],
    ) -> Result<Planned, QueryError> {
        self.try_plan(sql, parameters, settings, catalog, slots)
            .await
            .map_err(|e| classify(&e))
    }

    /// The columns that a statement's rows will have, and the names and types of its parameters.
    ///
    /// # Errors
    /// What is wrong with the statement, or with what it names.
    pub async fn describe(
        &self,
        sql: &str,
        settings: &SessionSettings,
        catalog: &Catalog,
    ) -> Result<(SchemaRef, Vec<(String, Option<DataType>)>), QueryError> {
        let described = self
            .try_describe(sql, settings, catalog)
            .await
            .map_err(|e| classify(&e))?;
        Ok((described.schema, described.parameters))
    }

    async fn try_describe(
        &self,
        sql: &str,
        settings: &SessionSettings,
        catalog: &Catalog,
    ) -> Result<Described> {
        let state = Planning::of(&self.engine, settings, catalog.list(), 1)?;
        let logical = logical_plan(&state, sql, vec![]).await?;
        let mut parameters: Vec<_> = logical.get_parameter_types()?.into_iter().collect();
        parameters.sort_by_key(|(name, _)| (name.len(), name.clone()));
        let schema = match &logical {
            LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) => explain_schema(),
            write if writes(write) => count_schema(),
            LogicalPlan::Ddl(_) => Arc::new(Schema::empty()),
            other => Arc::clone(other.schema().inner()),
        };
        Ok(Described { schema, parameters })
    }

    async fn try_plan(
        &self,
        sql: &str,
        parameters: Vec<ScalarValue>,
        settings: &SessionSettings,
        catalog: &Catalog,
        slots: &[u32],
    ) -> Result<Planned> {
        let given = Given {
            settings,
            catalog,
            slots,
        };
        let most = slots.iter().copied().max().unwrap_or(1) as usize;
        let single = Planning::of(&self.engine, settings, catalog.list(), most)?;
        let logical = logical_plan(&single, sql, parameters).await?;
        let data = self.data.as_ref();
        match logical {
            write if writes(&write) => {
                let writing = Writing::of(&single, catalog, data, &write, sql)?;
                self.write(&single, writing, given).await
            }
            LogicalPlan::Ddl(ddl) => {
                let change = change(&single, settings, data, ddl, sql).await?;
                Ok(Planned::Change(change))
            }
            LogicalPlan::Statement(statement) => Err(DataFusionError::NotImplemented(format!(
                "{} is not supported: there is no session to change; send settings and parameters \
                 with the request",
                statement.name()
            ))),
            LogicalPlan::Explain(explain) => {
                let (input, writing) = if writes(&explain.plan) {
                    let writing = Writing::of(&single, catalog, data, &explain.plan, sql)?;
                    (Arc::clone(&writing.input), Some(writing))
                } else {
                    explainable(&explain.plan)?;
                    (explain.plan, None)
                };
                self.explain(&single, &input, writing.as_ref(), given).await
            }
            LogicalPlan::Analyze(analyze) => {
                explainable(&analyze.input)?;
                let input = single.optimize(&analyze.input)?;
                let staged = self.stages(&single, &input, None, given).await?;
                let mut query = staged.into_query(settings);
                query.schema = explain_schema();
                query.analyze = true;
                Ok(Planned::Query(query))
            }
            query => {
                let query = single.optimize(&query)?;
                self.query(&single, &query, given).await
            }
        }
    }

    async fn write(
        &self,
        single: &SessionState,
        writing: Writing,
        given: Given<'_>,
    ) -> Result<Planned> {
        if let Some(answer) = name_taken(&writing, given.catalog)? {
            return Ok(answer);
        }
        let input = single.optimize(&writing.input)?;
        let staged = self.stages(single, &input, Some(&writing), given).await?;
        Ok(Planned::Write {
            plan: staged.into_query(given.settings),
            into: writing.into,
        })
    }

    async fn explain(
        &self,
        single: &SessionState,
        input: &LogicalPlan,
        writing: Option<&Writing>,
        given: Given<'_>,
    ) -> Result<Planned> {
        let input = single.optimize(input)?;
        let staged = self.stages(single, &input, writing, given).await?;
        let text = input.display_indent().to_string();
        Ok(Planned::Rows {
            schema: explain_schema(),
            batches: vec![explained_rows(&text, &staged.graph)],
        })
    }

    async fn query(
        &self,
        single: &SessionState,
        logical: &LogicalPlan,
        given: Given<'_>,
    ) -> Result<Planned> {
        let plan = physical(single, logical).await?;
        if knows_itself(&plan) || matches!(logical, LogicalPlan::DescribeTable(_)) {
            let schema = plan.schema();
            let batches = collect(plan, single.task_ctx()).await?;
            return Ok(Planned::Rows { schema, batches });
        }
        let staged = self.staged(single, plan, logical, None, given).await?;
        Ok(Planned::Query(staged.into_query(given.settings)))
    }

    async fn stages(
        &self,
        single: &SessionState,
        logical: &LogicalPlan,
        writing: Option<&Writing>,
        given: Given<'_>,
    ) -> Result<Staged> {
        let plan = physical(single, logical).await?;
        self.staged(single, plan, logical, writing, given).await
    }

    /// One stage for what is small or has only one executor to run on; several for all else. `plan` is
    /// how one process would run `logical`.
    async fn staged(
        &self,
        single: &SessionState,
        plan: Arc<dyn ExecutionPlan>,
        logical: &LogicalPlan,
        writing: Option<&Writing>,
        given: Given<'_>,
    ) -> Result<Staged> {
        let Given {
            settings,
            catalog,
            slots,
        } = given;
        let largest = self.options.largest_stage;
        let small = settings.small_plan_bytes(self.options.small_plan.0);
        if slots.len() == 1 || scan_bytes(&plan) <= small {
            let plan = written(materialize(plan, single).await?, writing);
            let schema = plan.schema();
            let graph = Arc::new(uncut(plan, single, largest)?);
            return Ok(Staged { graph, schema });
        }
        let partitions = slots.iter().map(|&s| s as usize).sum::<usize>().max(2);
        let runtime = Arc::clone(single.runtime_env());
        let mut state = planning_state(
            &self.engine,
            settings,
            catalog.list(),
            runtime,
            Some(Shape::Staged { partitions }),
        )?;
        state.mark_start_execution();
        // Both plans of a statement see the same `now()`.
        let now = single.execution_props().query_execution_start_time;
        state.execution_props_mut().query_execution_start_time = now;
        let plan = physical(&state, logical).await?;
        let plan = written(materialize(plan, &state).await?, writing);
        let schema = plan.schema();
        let graph = Arc::new(cut(plan, &state, small, largest)?);
        Ok(Staged { graph, schema })
    }
}

/// What a statement is planned with.
#[derive(Clone, Copy)]
struct Given<'a> {
    settings: &'a SessionSettings,
    catalog: &'a Catalog,
    slots: &'a [u32],
}

struct Staged {
    graph: Arc<StageGraph>,
    schema: SchemaRef,
}

impl Staged {
    fn into_query(self, settings: &SessionSettings) -> QueryPlan {
        QueryPlan {
            graph: self.graph,
            schema: self.schema,
            settings: settings.clone(),
            analyze: false,
        }
    }
}

/// The plan, or what writes its rows.
fn written(plan: Arc<dyn ExecutionPlan>, writing: Option<&Writing>) -> Arc<dyn ExecutionPlan> {
    match writing {
        Some(writing) => writing.over(plan),
        None => plan,
    }
}

/// The physical plan of a logical one that is optimized already. What optimizing does is the same for
/// every shape, so a statement goes through it once; `SessionState::create_physical_plan` would do it
/// again for each shape.
async fn physical(state: &SessionState, optimized: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
    let planner = state.query_planner();
    planner.create_physical_plan(optimized, state).await
}

/// Only what executors run has stages to show.
fn explainable(plan: &LogicalPlan) -> Result<()> {
    if writes(plan) {
        return Err(DataFusionError::NotImplemented(
            "EXPLAIN ANALYZE runs a statement, and this one writes: use EXPLAIN".to_string(),
        ));
    }
    match plan {
        LogicalPlan::Ddl(_)
        | LogicalPlan::Statement(_)
        | LogicalPlan::Explain(_)
        | LogicalPlan::Analyze(_) => Err(DataFusionError::NotImplemented(
            "EXPLAIN is for queries: this statement has no stages".to_string(),
        )),
        _ => Ok(()),
    }
}
