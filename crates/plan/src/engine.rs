//! What queries share within a process: functions, memory, spill space, open object stores, caches.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::execution::SessionState;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::TaskContext;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{
    FairSpillPool, MemoryPool, TrackConsumersPool, UnboundedMemoryPool,
};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use paceline_model::{ByteSize, ErrorClass, QueryError};

use crate::error::classify;
use crate::exchange_read::{BoundSource, ExchangeSource};
use crate::named_format::name_files;
use crate::object_stores::ObjectStores;
use crate::rules::rules;
use crate::session::SessionSettings;
use crate::spare::SpareStates;
use crate::windows::travelling_windows;

/// How many of the largest consumers an out-of-memory error names.
const NAMED_CONSUMERS: usize = 5;

/// What the lists of files of one statement may take; longer ones are listed again.
const LISTED_FILES_BYTES: usize = 64 << 20;

/// What an [`Engine`] may use.
#[derive(Debug, Clone, Default)]
pub struct EngineOptions {
    /// Memory of all operators together; without it there is no bound.
    pub memory_limit: Option<ByteSize>,
    /// Where operators spill; the system's temporary directory without it.
    pub spill_directory: Option<PathBuf>,
    /// Disk that spilling may take.
    pub spill_limit: Option<ByteSize>,
    /// How object stores of tables are reached; see [`ObjectStores::new`].
    pub object_store: BTreeMap<String, String>,
}

/// One per process; cheap to clone.
#[derive(Clone)]
pub struct Engine {
    runtime: Arc<RuntimeEnv>,
    base: Arc<SessionState>,
    spare_states: Arc<SpareStates>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Engine {
    /// Sets up an engine.
    ///
    /// # Errors
    /// If the spill directory cannot be used, or no object store has an option of that name.
    pub fn new(options: EngineOptions) -> Result<Self, QueryError> {
        if let Some(name) = ObjectStores::unknown_option(&options.object_store) {
            let message = format!(
                "no object store has an option '{name}' (storage.options): the usual ones are endpoint, \
                 region, access_key_id, secret_access_key, session_token and allow_http"
            );
            return Err(QueryError::new(ErrorClass::User, message));
        }
        let pool: Arc<dyn MemoryPool> = match options.memory_limit {
            Some(limit) => Arc::new(TrackConsumersPool::new(
                FairSpillPool::new(limit.as_usize()),
                NAMED_CONSUMERS
                    .try_into()
                    .unwrap_or(std::num::NonZeroUsize::MIN),
            )),
            None => Arc::new(UnboundedMemoryPool::default()),
        };
        let mut disk = DiskManagerBuilder::default();
        if let Some(directory) = options.spill_directory {
            disk = disk.with_mode(DiskManagerMode::Directories(vec![directory]));
        }
        if let Some(limit) = options.spill_limit {
            disk = disk.with_max_temp_directory_size(limit.0);
        }
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(pool)
            .with_disk_manager_builder(disk)
            .with_object_store_registry(Arc::new(ObjectStores::new(options.object_store)))
            // Files come and go without a word to us: see `statement_runtime`.
            .with_object_list_cache_limit(0)
            .build_arc()
            .map_err(|e| classify(&e))?;
        let mut base = SessionStateBuilder::new()
            .with_runtime_env(Arc::clone(&runtime))
            .with_default_features()
            .with_physical_optimizer_rules(rules())
            .build();
        name_files(&mut base).map_err(|e| classify(&e))?;
        travelling_windows(&mut base).map_err(|e| classify(&e))?;
        Ok(Engine {
            runtime,
            base: Arc::new(base),
            spare_states: Arc::default(),
        })
    }

    /// The context that a task runs in. Its exchanges come from `source`.
    ///
    /// # Errors
    /// If a setting is unknown or has no such value.
    pub fn task_context(
        &self,
        settings: &SessionSettings,
        source: Arc<dyn ExchangeSource>,
        task: String,
    ) -> Result<Arc<TaskContext>, QueryError> {
        let config = settings
            .task_config()
            .map_err(|e| classify(&e))?
            .with_extension(Arc::new(BoundSource(source)));
        Ok(Arc::new(TaskContext::new(
            Some(task.clone()),
            task,
            config,
            self.base.scalar_functions().clone(),
            self.base.higher_order_functions().clone(),
            self.base.aggregate_functions().clone(),
            self.base.window_functions().clone(),
            Arc::clone(&self.runtime),
        )))
    }

    /// Bytes that operators have reserved now.
    pub fn memory_used(&self) -> ByteSize {
        ByteSize(self.runtime.memory_pool.reserved() as u64)
    }

    /// The pool that operators reserve from, for others who hold memory on their behalf.
    pub fn memory_pool(&self) -> Arc<dyn MemoryPool> {
        Arc::clone(&self.runtime.memory_pool)
    }

    /// The process's runtime with a list of files that lasts for one statement: all its scans of a
    /// table see the same files, and the next statement looks again.
    pub(crate) fn statement_runtime(&self) -> datafusion::common::Result<Arc<RuntimeEnv>> {
        RuntimeEnvBuilder::from_runtime_env(&self.runtime)
            .with_object_list_cache_limit(LISTED_FILES_BYTES)
            .build_arc()
    }

    pub(crate) fn runtime(&self) -> &Arc<RuntimeEnv> {
        &self.runtime
    }

    pub(crate) fn spare_states(&self) -> &Arc<SpareStates> {
        &self.spare_states
    }

    pub(crate) fn base(&self) -> &SessionState {
        &self.base
    }
}
