//! Places for queries that are being made durable. What was acknowledged is not refused any more, so there has
//! to be a place before anything is written down.

use std::sync::Arc;

use paceline_model::QueryError;

use super::Driver;

/// The place of a query that is not submitted yet. It is given back with this.
#[derive(Debug)]
pub(crate) struct Place(Arc<Driver>);

impl Driver {
    /// Takes a place for one more query.
    ///
    /// # Errors
    /// That too many run and wait.
    pub(crate) fn take_place(self: &Arc<Self>) -> Result<Place, QueryError> {
        let mut state = self.state.lock();
        let promised = state.promised;
        let room = state.core.has_room(promised);
        self.metrics.observe(&state.core, state.links.len());
        room?;
        state.promised += 1;
        Ok(Place(Arc::clone(self)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.state.lock().promised -= 1;
    }
}

#[cfg(test)]
mod tests {
    use paceline_core::Options;
    use paceline_model::ErrorClass;
    use prometheus::Registry;

    use super::*;
    use crate::driver::tests::{driver_with, planned};

    #[tokio::test]
    async fn a_place_is_there_once_and_again_when_it_is_given_back() {
        let directory = tempfile::tempdir().unwrap();
        let options = Options {
            max_running_queries: 1,
            max_queued_queries: 1,
            ..Options::default()
        };
        let driver = driver_with(directory.path(), options, &Registry::new());
        let driver = Arc::new(driver);
        driver.submit(planned(1), None);
        let place = driver.take_place().unwrap();
        let refused = driver.take_place().unwrap_err();
        assert_eq!(refused.class, ErrorClass::Resource);
        drop(place);
        let _again = driver.take_place().unwrap();
        let mut durable = planned(1);
        durable.submitted = true;
        driver.submit(planned(1), None);
        let query = durable.query;
        driver.submit(durable, None);
        assert_eq!(driver.running_and_queued(), (1, 2), "it is not refused");
        let error = driver.with_record(&query, |record| record.error.clone());
        assert_eq!(error, Some(None));
    }
}
