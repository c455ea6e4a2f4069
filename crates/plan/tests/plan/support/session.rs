//! Tables known to Paceline's planner and to one DataFusion alike.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use paceline_model::{ByteSize, CatalogVersion, QueryError};
use paceline_plan::{
    Catalog, Change, Definitions, Engine, EngineOptions, ManagedDefinition, Planned, Planner,
    PlannerOptions, QueryPlan, SessionSettings, TableDefinition, ViewDefinition,
};
use paceline_testkit::{Order, Reference, compare, order_of, says_something};

use super::cluster::{Cluster, Ran, describe};

/// Executors with two slots each.
pub(crate) const SLOTS: [u32; 3] = [2, 2, 2];

/// What a query should answer.
pub(crate) struct Expected {
    pub(crate) schema: SchemaRef,
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) order: Order,
}

impl Expected {
    /// Fails if nothing in it could be wrong.
    pub(crate) fn something(self) -> Result<Expected, String> {
        match says_something(&self.batches, &self.order) {
            Ok(true) => Ok(self),
            Ok(false) => Err("the right answer says nothing, so any would do".to_string()),
            Err(difference) => Err(difference.to_string()),
        }
    }
}

/// A catalog, and somebody who is always right about it.
pub(crate) struct Session {
    pub(crate) engine: Engine,
    pub(crate) settings: SessionSettings,
    pub(crate) catalog: Catalog,
    pub(crate) reference: Reference,
    schemas: Vec<String>,
    tables: Vec<TableDefinition>,
    views: Vec<ViewDefinition>,
}

impl Session {
    pub(crate) async fn new() -> Self {
        let engine = Engine::new(EngineOptions::default()).unwrap();
        let small_files_too = ("datafusion.optimizer.repartition_file_min_size", "1");
        Session {
            catalog: Catalog::empty(&engine).await.unwrap(),
            engine,
            settings: settings([small_files_too]),
            reference: Reference::new(2),
            schemas: vec![],
            tables: vec![],
            views: vec![],
        }
    }

    /// The same session with one more setting, for Paceline and the reference.
    pub(crate) async fn set(&mut self, name: &str, value: &str) {
        self.settings.0.insert(name.to_string(), value.to_string());
        let set = format!("SET {name} = '{value}'");
        self.reference.run(&set).await.unwrap();
    }

    pub(crate) fn planner(&self, small_plan: ByteSize) -> Planner {
        let options = PlannerOptions {
            small_plan,
            ..PlannerOptions::default()
        };
        Planner::new(self.engine.clone(), options)
    }

    /// Plans so that everything that can be cut is.
    pub(crate) async fn plan(&self, sql: &str) -> Result<Planned, QueryError> {
        self.plan_for(sql, ByteSize(0), &SLOTS).await
    }

    pub(crate) async fn plan_for(
        &self,
        sql: &str,
        small_plan: ByteSize,
        slots: &[u32],
    ) -> Result<Planned, QueryError> {
        let planner = self.planner(small_plan);
        let settings = &self.settings;
        planner
            .plan(sql, vec![], settings, &self.catalog, slots)
            .await
    }

    /// The stages of a query.
    pub(crate) async fn staged(&self, sql: &str) -> QueryPlan {
        match self.plan(sql).await {
            Ok(Planned::Query(query)) => query,
            other => panic!("{sql}\nis not run by executors: {other:?}"),
        }
    }

    pub(crate) fn cluster(&self, tasks: u32) -> Cluster {
        let engine = self.engine.clone();
        Cluster { engine, tasks }
    }

    pub(crate) async fn run(&self, query: &QueryPlan, tasks: u32) -> Result<Ran, QueryError> {
        self.cluster(tasks).run(query).await
    }

    /// A statement that changes the catalog, here and in the reference.
    pub(crate) async fn change(&mut self, sql: &str) {
        self.change_here(sql).await;
        self.reference.run(sql).await.unwrap();
    }

    /// A statement that changes the catalog.
    pub(crate) async fn change_here(&mut self, sql: &str) {
        let change = match self.plan(sql).await {
            Ok(Planned::Change(change)) => change,
            other => panic!("{sql}\ndoes not change the catalog: {other:?}"),
        };
        match change {
            Change::CreateSchema { name, .. } => self.schemas.push(name),
            Change::CreateTable { table, .. } => self.tables.push(table),
            Change::CreateManaged { table, .. } => panic!("{table:?} has no place here"),
            Change::CreateView { view, .. } => self.views.push(view),
            Change::DropTable { schema, name, .. } => self
                .tables
                .retain(|t| (&t.schema, &t.name) != (&schema, &name)),
            Change::DropView { schema, name, .. } => self
                .views
                .retain(|v| (&v.schema, &v.name) != (&schema, &name)),
            Change::DropSchema { name, .. } => self.schemas.retain(|s| *s != name),
        }
        let previous = self.catalog.clone();
        self.build(Some(&previous)).await;
    }

    /// The catalog as a process makes it that has just begun.
    pub(crate) async fn reopen(&mut self) {
        self.build(None).await;
    }

    async fn build(&mut self, previous: Option<&Catalog>) {
        self.catalog = Catalog::build(
            &self.engine,
            CatalogVersion(self.catalog.version().0 + 1),
            &self.schemas,
            &self.tables,
            &self.views,
            previous,
        )
        .await
        .unwrap();
    }

    /// Makes managed tables known, beside all that is.
    pub(crate) async fn define(&mut self, managed: &[ManagedDefinition]) {
        let definitions = Definitions {
            schemas: self.schemas.clone(),
            tables: self.tables.clone(),
            managed: managed.to_vec(),
            views: self.views.clone(),
        };
        let version = CatalogVersion(self.catalog.version().0 + 1);
        let previous = Some(&self.catalog);
        let catalog = Catalog::of(&self.engine, version, &definitions, previous).await;
        self.catalog = catalog.unwrap();
    }

    /// What the query should answer, and what it fixes about the order.
    pub(crate) async fn expected(&self, sql: &str) -> Result<Expected, String> {
        let said = |e: &dyn std::fmt::Display| format!("the reference says {e}\nto: {sql}");
        let state = self.reference.context().state();
        let logical = state.create_logical_plan(sql).await.map_err(|e| said(&e))?;
        let answer = self.reference.run(sql).await.map_err(|e| said(&e))?;
        Ok(Expected {
            schema: answer.schema,
            batches: answer.batches,
            order: order_of(&logical),
        })
    }

    /// Runs a query in one task, with small parts left where they are, and in stages of 1, 3 and 5
    /// tasks; the answer is always the
    /// reference's. Gives back its stages.
    pub(crate) async fn check(&self, sql: &str) -> QueryPlan {
        self.try_check(sql, &[3, 1, 5])
            .await
            .unwrap_or_else(|difference| panic!("{difference}"))
    }

    /// The same, for numbers of tasks.
    pub(crate) async fn try_check(&self, sql: &str, tasks: &[u32]) -> Result<QueryPlan, String> {
        let expected = self.expected(sql).await?;
        self.matches(sql, tasks, &expected).await
    }

    /// The same, of a query whose answer says something.
    pub(crate) async fn try_check_something(
        &self,
        sql: &str,
        tasks: &[u32],
    ) -> Result<QueryPlan, String> {
        let expected = self.expected(sql).await?.something()?;
        self.matches(sql, tasks, &expected).await
    }

    async fn matches(
        &self,
        sql: &str,
        tasks: &[u32],
        expected: &Expected,
    ) -> Result<QueryPlan, String> {
        let single = self.cut(sql, ByteSize::mib(1 << 20)).await?;
        if single.graph.len() != 1 {
            return Err(format!(
                "{sql}\nis small but has {} stages",
                single.graph.len()
            ));
        }
        self.agrees(sql, &single, 1, expected).await?;
        // Not small as a whole, so that it is cut, but each of its parts alone would be.
        let bytes = single.graph.root().scan_bytes;
        let inline = self.cut(sql, ByteSize(bytes.saturating_sub(1))).await?;
        self.agrees(sql, &inline, 3, expected).await?;
        let staged = self.cut(sql, ByteSize(0)).await?;
        for &tasks in tasks {
            self.agrees(sql, &staged, tasks, expected).await?;
        }
        Ok(staged)
    }

    async fn cut(&self, sql: &str, small_plan: ByteSize) -> Result<QueryPlan, String> {
        match self.plan_for(sql, small_plan, &SLOTS).await {
            Ok(Planned::Query(query)) => Ok(query),
            other => Err(format!("{sql}\nis not run by executors: {other:?}")),
        }
    }

    async fn agrees(
        &self,
        sql: &str,
        query: &QueryPlan,
        tasks: u32,
        expected: &Expected,
    ) -> Result<(), String> {
        let at = |what: &dyn std::fmt::Display| {
            format!(
                "{what}\nin {tasks} tasks: {sql}\n{}",
                describe(&query.graph)
            )
        };
        let ran = self.run(query, tasks).await.map_err(|e| at(&e))?;
        let right = (expected.schema.as_ref(), &*expected.batches);
        let actual = (query.schema.as_ref(), &*ran.batches);
        compare(right, actual, &expected.order).map_err(|difference| at(&difference))
    }
}

pub(crate) fn settings<const N: usize>(pairs: [(&str, &str); N]) -> SessionSettings {
    let pairs = pairs.map(|(name, value)| (name.to_string(), value.to_string()));
    SessionSettings(BTreeMap::from(pairs))
}
