//! Parquet files and plans over them.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::util::pretty::pretty_format_batches;
use datafusion::execution::context::SessionContext;
use datafusion::execution::options::ParquetReadOptions;
use paceline_model::{CatalogVersion, StageGraph};
use paceline_plan::{
    Catalog, Change, Engine, EngineOptions, Planned, Planner, PlannerOptions, SessionSettings,
};
use parquet::arrow::ArrowWriter;
use tempfile::TempDir;

const FILES: i64 = 4;
const ROWS: i64 = 10_000;

/// A table `t(k, v, s)` of 40,000 rows in four files.
pub(crate) struct Tables {
    directory: TempDir,
    planner: Planner,
    catalog: Catalog,
}

impl Tables {
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let table = directory.path().join("t");
        std::fs::create_dir(&table).unwrap();
        for file in 0..FILES {
            write(&table.join(format!("{file}.parquet")), file * ROWS);
        }
        let engine = Engine::new(EngineOptions::default()).unwrap();
        let planner = Planner::new(engine.clone(), PlannerOptions::default());
        let create = format!(
            "CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '{}/'",
            table.display()
        );
        let empty = Catalog::empty(&engine).await.unwrap();
        let settings = SessionSettings::default();
        let change = planner.plan(&create, vec![], &settings, &empty, &[1]).await;
        let Ok(Planned::Change(Change::CreateTable { table, .. })) = change else {
            panic!("{change:?}");
        };
        let version = CatalogVersion(1);
        let catalog = Catalog::build(&engine, version, &[], &[table], &[], None)
            .await
            .unwrap();
        Tables {
            directory,
            planner,
            catalog,
        }
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The files of the table.
    pub(crate) fn files(&self) -> Vec<std::path::PathBuf> {
        let files = (0..FILES).map(|file| self.directory().join(format!("t/{file}.parquet")));
        files.collect()
    }

    /// A plan for executors with so many slots; with one executor it is a single stage.
    pub(crate) async fn plan(&self, sql: &str, slots: &[u32]) -> Arc<StageGraph> {
        let mut settings = SessionSettings::default();
        if slots.len() > 1 {
            let name = "paceline.small_plan_bytes".to_string();
            settings.0.insert(name, "0B".to_string());
        }
        let planned = self
            .planner
            .plan(sql, vec![], &settings, &self.catalog, slots)
            .await
            .unwrap();
        match planned {
            Planned::Query(query) => query.graph,
            other => panic!("{other:?}"),
        }
    }

    /// What a single process answers, as sorted lines.
    pub(crate) async fn expected(&self, sql: &str) -> Vec<String> {
        let context = SessionContext::new();
        let table = self.directory().join("t");
        let path = table.to_str().unwrap();
        context
            .register_parquet("t", path, ParquetReadOptions::default())
            .await
            .unwrap();
        lines(&context.sql(sql).await.unwrap().collect().await.unwrap())
    }
}

/// Rows as sorted lines, so that answers can be compared.
pub(crate) fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let text = pretty_format_batches(batches).unwrap().to_string();
    let mut lines: Vec<_> = text
        .lines()
        .filter(|line| !line.starts_with('+'))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    lines.sort();
    lines
}

fn batch(first: i64, rows: i64) -> RecordBatch {
    let numbers = || first..first + rows;
    let k: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers()));
    let v: ArrayRef = Arc::new(Int64Array::from_iter_values(
        numbers().map(|n| n * 7 % 1000),
    ));
    let s: ArrayRef = Arc::new(StringArray::from_iter_values(
        numbers().map(|n| format!("text number {}", n % 50)),
    ));
    RecordBatch::try_from_iter([("k", k), ("v", v), ("s", s)]).unwrap()
}

fn write(path: &Path, first: i64) {
    let batch = batch(first, ROWS);
    let file = File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}
