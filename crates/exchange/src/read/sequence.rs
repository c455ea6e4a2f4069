//! Many outputs as one stream of rows in a fixed order.
//!
//! A stream reads the units of its [route](super::route), one after the other. While it reads one it
//! keeps the lanes of the next few filled, as far as its share of the budget goes; so holders work at
//! the same time, and the order still does not depend on who is faster. Where many streams share the
//! budget there is hardly anything to fill ahead with; so each partition begins with another holder.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::RecordBatch;
use paceline_model::OutputId;

use super::budget::Active;
use super::fault::Fault;
use super::input::{Shared, Which};
use super::lane::Arrived;
use super::link::Next;
use super::local::LocalCursor;
use super::route::{Route, Routed, Unit, Via};
use crate::error::{LostReason, ReadError};
use crate::frame::{FrameCodec, is_damaged};

/// When a whole exchange is read each partition is a lane; more of them at once gain nothing.
const MOST_LANES_AHEAD: usize = 64;

/// A lane of a link of the route.
type LaneAt = (usize, u32);

pub(crate) struct Sequence {
    shared: Arc<Shared>,
    route: Arc<Route>,
    codec: FrameCodec,
    units: Vec<Unit>,
    at: usize,
    /// How many lanes can be of use at the same time.
    lanes: usize,
    /// The lanes that are kept filled while the current unit is read.
    ahead: Option<Vec<LaneAt>>,
    local: Option<LocalCursor>,
    active: Option<Active>,
}

impl Sequence {
    pub(crate) fn new(
        shared: Arc<Shared>,
        route: Arc<Route>,
        codec: FrameCodec,
        which: Which,
    ) -> Self {
        let units = route.units(which);
        let lanes = match which {
            Which::Partition(_) => route.links.len(),
            Which::Whole => units.len().min(MOST_LANES_AHEAD),
        };
        Sequence {
            shared,
            route,
            codec,
            units,
            at: 0,
            lanes,
            ahead: None,
            local: None,
            active: None,
        }
    }

    /// The next batch; none at the end. If this is dropped before it is ready, no batch is skipped.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>, ReadError> {
        if self.active.is_none() {
            self.active = Some(self.shared.budget.activate());
        }
        while let Some(unit) = self.units.get(self.at).copied() {
            self.fill_ahead();
            let batch = match unit.via {
                Via::Local => self.next_local(unit).await,
                Via::Link { link, number } => self.next_remote(unit, link, number).await,
            };
            match batch {
                Ok(Some(batch)) => return Ok(Some(batch)),
                Ok(None) => self.next_unit(),
                Err(fault) => return Err(self.failed(unit, fault)),
            }
        }
        self.end();
        Ok(None)
    }

    fn next_unit(&mut self) {
        self.at += 1;
        self.ahead = None;
        self.local = None;
    }

    async fn next_local(&mut self, unit: Unit) -> Result<Option<RecordBatch>, Fault> {
        let cursor = match &mut self.local {
            Some(cursor) => cursor,
            None => self
                .local
                .insert(open_local(&self.shared, &self.route, unit)?),
        };
        cursor.next(&self.codec, &self.shared.budget).await
    }

    async fn next_remote(
        &mut self,
        unit: Unit,
        link: usize,
        number: u32,
    ) -> Result<Option<RecordBatch>, Fault> {
        let Some(link) = self.route.links.get(link) else {
            return Ok(None);
        };
        let arrived = match link.next(unit.partition, number).await? {
            Next::Frame(arrived) => arrived,
            Next::End => return Ok(None),
        };
        // The room that the frame leaves is given away before the work of decoding it.
        self.fill_ahead();
        self.decode(arrived).map(Some)
    }

    fn decode(&self, arrived: Arrived) -> Result<RecordBatch, Fault> {
        if is_damaged(&arrived.bytes, arrived.crc32) {
            return Err(LostReason::Checksum.into());
        }
        let read = &self.shared.budget.remote;
        read.fetch_add(arrived.bytes.len() as u64, Ordering::Relaxed);
        Ok(self.codec.decode(arrived.bytes)?)
    }

    /// Grants credit to the lanes that are read now and next.
    fn fill_ahead(&mut self) {
        let (lanes, window) = self.shared.budget.share(self.lanes);
        let ahead = self.ahead.get_or_insert_with(|| {
            let mut ahead: Vec<LaneAt> = Vec::new();
            for unit in self.units.get(self.at..).unwrap_or_default() {
                if ahead.len() >= lanes {
                    break;
                }
                if let Via::Link { link, .. } = unit.via
                    && !ahead.contains(&(link, unit.partition))
                {
                    ahead.push((link, unit.partition));
                }
            }
            ahead
        });
        for (link, partition) in ahead {
            if let Some(link) = self.route.links.get(*link) {
                link.grant(*partition, window);
            }
        }
    }

    fn failed(&self, unit: Unit, fault: Fault) -> ReadError {
        if let Fault::Lost(reason) = &fault {
            self.shared.metrics.lost(reason.label());
        }
        let stage = self.route.stage;
        match self.route.outputs.get(unit.output) {
            Some(routed) => fault.reading(stage, &routed.location),
            None => ReadError::UnknownInput { stage },
        }
    }

    /// Gives back everything that is held for this stream.
    fn end(&mut self) {
        let mut closed: BTreeSet<LaneAt> = BTreeSet::new();
        for unit in std::mem::take(&mut self.units) {
            if let Via::Link { link, .. } = unit.via
                && closed.insert((link, unit.partition))
                && let Some(link) = self.route.links.get(link)
            {
                link.close(unit.partition);
            }
        }
        self.ahead = None;
        self.local = None;
        self.active = None;
    }
}

fn open_local(shared: &Shared, route: &Route, unit: Unit) -> Result<LocalCursor, Fault> {
    let located = route.outputs.get(unit.output);
    let (Some(Routed { location, .. }), Some(store)) = (located, &shared.store) else {
        return Err(LostReason::Missing.into());
    };
    let id = OutputId {
        query: shared.query,
        stage: route.stage,
        task: location.task,
        attempt: location.attempt,
    };
    LocalCursor::open(store, &id, unit.partition, shared.follow)
}

impl Drop for Sequence {
    fn drop(&mut self) {
        self.end();
    }
}
