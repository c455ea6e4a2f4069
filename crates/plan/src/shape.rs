//! What a plan is made for, and the session state that makes it so.

use std::sync::Arc;

use datafusion::catalog::CatalogProviderList;
use datafusion::common::Result;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SessionState, SessionStateBuilder};

use crate::engine::Engine;
use crate::rules::staged_rules;
use crate::session::SessionSettings;

/// What a plan is made for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    /// One task with so many slots.
    Single { slots: usize },
    /// Stages of so many partitions.
    Staged { partitions: usize },
}

/// A session state that plans against a list of catalogs.
pub(crate) fn planning_state(
    engine: &Engine,
    settings: &SessionSettings,
    list: Arc<dyn CatalogProviderList>,
    runtime: Arc<RuntimeEnv>,
    shape: Option<Shape>,
) -> Result<SessionState> {
    let mut builder = SessionStateBuilder::new_from_existing(engine.base().clone())
        .with_runtime_env(runtime)
        .with_catalog_list(list);
    let config = match shape {
        None => settings.single_config(1)?,
        Some(Shape::Single { slots }) => settings.single_config(slots)?,
        Some(Shape::Staged { partitions }) => {
            builder = builder.with_physical_optimizer_rules(staged_rules());
            settings.staged_config(partitions)?
        }
    };
    Ok(builder
        .with_config(config.with_create_default_catalog_and_schema(false))
        .build())
}
