//! Session states for planning, kept from one statement to the next.
//!
//! DataFusion makes a session state by registering every function again under each of its names. For a
//! statement of a few milliseconds that is a good part of its planning, and nothing in it depends on
//! the statement: only on its settings and on how many slots it is planned for.

use std::ops::Deref;
use std::sync::Arc;

use datafusion::catalog::{CatalogProviderList, MemoryCatalogProviderList};
use datafusion::common::Result;
use datafusion::execution::SessionState;
use parking_lot::Mutex;

use crate::engine::Engine;
use crate::session::SessionSettings;
use crate::shape::{Shape, planning_state};

/// How many states wait for a statement: as many as are planned at once where planning keeps every
/// core of a large machine busy. One takes some hundred kilobytes.
const KEPT: usize = 16;

/// States that no statement uses now, the one used last at the end.
#[derive(Default)]
pub(crate) struct SpareStates(Mutex<Vec<Spare>>);

struct Spare {
    settings: SessionSettings,
    slots: usize,
    state: Arc<SessionState>,
}

/// A state for one statement: made for its settings, seeing the catalog that it was taken with, and
/// with a list of files of its own. It is kept for the next statement when this one is planned.
pub(crate) struct Planning {
    kept_in: Arc<SpareStates>,
    settings: SessionSettings,
    slots: usize,
    state: Arc<SessionState>,
}

impl Planning {
    /// For a plan that one task runs with so many slots. From here on `now()` is a constant.
    pub(crate) fn of(
        engine: &Engine,
        settings: &SessionSettings,
        catalogs: Arc<dyn CatalogProviderList>,
        slots: usize,
    ) -> Result<Self> {
        let kept_in = Arc::clone(engine.spare_states());
        let mut state = match kept_in.take(settings, slots) {
            Some(state) => state,
            None => {
                let (runtime, shape) = (engine.statement_runtime()?, Shape::Single { slots });
                let catalogs = Arc::clone(&catalogs);
                let state = planning_state(engine, settings, catalogs, runtime, Some(shape))?;
                Arc::new(state)
            }
        };
        let own = Arc::make_mut(&mut state);
        own.register_catalog_list(catalogs);
        own.mark_start_execution();
        Ok(Planning {
            kept_in,
            settings: settings.clone(),
            slots,
            state,
        })
    }
}

impl Deref for Planning {
    type Target = SessionState;

    fn deref(&self) -> &SessionState {
        &self.state
    }
}

impl Drop for Planning {
    fn drop(&mut self) {
        // Where somebody holds on to it, it is not for others.
        let Some(state) = Arc::get_mut(&mut self.state) else {
            return;
        };
        state.register_catalog_list(Arc::new(MemoryCatalogProviderList::new()));
        if let Some(listed) = state.runtime_env().cache_manager.get_list_files_cache() {
            listed.clear();
        }
        self.kept_in.keep(Spare {
            settings: std::mem::take(&mut self.settings),
            slots: self.slots,
            state: Arc::clone(&self.state),
        });
    }
}

impl SpareStates {
    fn take(&self, settings: &SessionSettings, slots: usize) -> Option<Arc<SessionState>> {
        let mut spares = self.0.lock();
        let found = spares
            .iter()
            .rposition(|spare| spare.slots == slots && spare.settings == *settings)?;
        Some(spares.remove(found).state)
    }

    fn keep(&self, spare: Spare) {
        let mut spares = self.0.lock();
        if spares.len() == KEPT {
            spares.remove(0);
        }
        spares.push(spare);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::EngineOptions;

    fn engine() -> Engine {
        Engine::new(EngineOptions::default()).unwrap()
    }

    fn planning(engine: &Engine, settings: &SessionSettings, slots: usize) -> Planning {
        let catalogs = Arc::new(MemoryCatalogProviderList::new());
        Planning::of(engine, settings, catalogs, slots).unwrap()
    }

    fn id(planning: &Planning) -> String {
        planning.session_id().to_string()
    }

    #[test]
    fn a_state_is_for_one_statement_at_a_time_and_then_for_the_next() {
        let (engine, settings) = (engine(), SessionSettings::default());
        let first = planning(&engine, &settings, 2);
        let beside = planning(&engine, &settings, 2);
        let (one, other) = (id(&first), id(&beside));
        assert_ne!(one, other);
        let listed = |p: &Planning| {
            p.runtime_env()
                .cache_manager
                .get_list_files_cache()
                .unwrap()
        };
        assert!(!Arc::ptr_eq(&listed(&first), &listed(&beside)));
        let begun = first.execution_props().query_execution_start_time;
        drop((beside, first));
        let next = planning(&engine, &settings, 2);
        assert_eq!(id(&next), one, "the state used last is warm");
        assert_ne!(next.execution_props().query_execution_start_time, begun);
    }

    #[test]
    fn settings_and_slots_are_never_those_of_another_statement() {
        let (engine, settings) = (engine(), SessionSettings::default());
        drop(planning(&engine, &settings, 2));
        let mut other = SessionSettings::default();
        let name = "datafusion.execution.batch_size".to_string();
        other.0.insert(name, "77".to_string());
        let changed = planning(&engine, &other, 2);
        assert_eq!(changed.config().batch_size(), 77);
        drop(changed);
        let plain = planning(&engine, &settings, 2);
        assert_ne!(plain.config().batch_size(), 77);
        drop(plain);
        assert_eq!(
            planning(&engine, &settings, 5).config().target_partitions(),
            5
        );
    }

    #[test]
    fn what_waits_is_bounded_and_holds_no_catalog() {
        let (engine, settings) = (engine(), SessionSettings::default());
        let catalogs: Arc<dyn CatalogProviderList> = Arc::new(MemoryCatalogProviderList::new());
        let of = |slots| Planning::of(&engine, &settings, Arc::clone(&catalogs), slots).unwrap();
        for slots in 1..=2 * KEPT {
            drop(of(slots));
        }
        assert_eq!(engine.spare_states().0.lock().len(), KEPT);
        assert_eq!(Arc::strong_count(&catalogs), 1);
    }
}
