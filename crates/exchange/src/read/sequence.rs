//! Many outputs as one stream of rows in a fixed order.
//!
//! A stream reads *units*, one after the other: one partition of one output each. Those of this
//! process come from the store, all others over links. While it reads one unit it keeps the lanes of
//! the next few filled, as far as its share of the budget goes; so holders work at the same time,
//! and the order still does not depend on who is faster. Where many streams share the budget there is
//! hardly anything to fill ahead with; so each partition begins with another holder.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::RecordBatch;
use paceline_model::{OutputId, OutputLocation, PartitionRange, StageId};
use paceline_proto::exchange;

use super::budget::Active;
use super::fault::Fault;
use super::input::{Shared, StageOutputs, Which};
use super::lane::Arrived;
use super::link::{Link, Next, Target};
use super::local::LocalCursor;
use crate::error::{LostReason, ReadError};
use crate::frame::{FrameCodec, is_damaged};

/// When a whole exchange is read each partition is a lane; more of them at once gain nothing.
const MOST_LANES_AHEAD: usize = 64;

/// How each output of a stage is reached.
#[derive(Debug)]
pub(crate) struct Route {
    stage: StageId,
    outputs: Vec<Routed>,
    links: Vec<Link>,
    /// How many holders the outputs lie with.
    holders: usize,
}

#[derive(Debug)]
struct Routed {
    location: OutputLocation,
    via: Via,
    /// The number of its holder, in the order in which the outputs name them: whoever reads, and
    /// whatever is local to it, numbers them alike.
    holder: usize,
}

#[derive(Debug, Clone, Copy)]
enum Via {
    Local,
    /// Over that link, in whose request the output has that number.
    Link {
        link: usize,
        number: u32,
    },
}

/// The outputs that one link is to read.
struct Planned {
    address: String,
    outputs: Vec<exchange::OutputRef>,
    range: PartitionRange,
}

impl Route {
    /// To read a range of partitions one by one: one link to each holder.
    pub(crate) fn partitions(
        shared: &Shared,
        stage: StageId,
        at: &StageOutputs,
        range: PartitionRange,
    ) -> Self {
        let mut by_address: BTreeMap<&str, usize> = BTreeMap::new();
        Self::plan(shared, stage, at, |location, links| {
            let next = links.len();
            let link = *by_address.entry(&location.address).or_insert(next);
            (link, range)
        })
    }

    /// To read all partitions of each output before the next output. Outputs that have partitions
    /// in common (those of a hash exchange) get a link each: on a shared one, a lane that has brought
    /// all of the first output would go on to the second while others are still to be read.
    pub(crate) fn whole(shared: &Shared, stage: StageId, at: &StageOutputs) -> Self {
        let mut ranges: Vec<_> = at.outputs.iter().map(|o| o.partitions).collect();
        ranges.sort_by_key(|range| range.first);
        let disjoint = ranges
            .iter()
            .zip(ranges.iter().skip(1))
            .all(|(a, b)| a.end() <= b.first);
        let mut by_address: BTreeMap<&str, usize> = BTreeMap::new();
        Self::plan(shared, stage, at, |location, links| {
            let next = links.len();
            if !disjoint {
                return (next, location.partitions);
            }
            let link = *by_address.entry(&location.address).or_insert(next);
            (link, location.partitions)
        })
    }

    fn plan<'a>(
        shared: &Shared,
        stage: StageId,
        at: &'a StageOutputs,
        mut choose: impl FnMut(&'a OutputLocation, &[Planned]) -> (usize, PartitionRange),
    ) -> Self {
        let mut planned: Vec<Planned> = Vec::new();
        let mut holders: BTreeMap<&str, usize> = BTreeMap::new();
        let mut outputs = Vec::with_capacity(at.outputs.len());
        for location in &at.outputs {
            let next = holders.len();
            let holder = *holders.entry(&location.address).or_insert(next);
            let mut push = |via| {
                outputs.push(Routed {
                    location: location.clone(),
                    via,
                    holder,
                });
            };
            if shared.store.is_some() && shared.me.as_ref() == Some(&location.executor) {
                push(Via::Local);
                continue;
            }
            let (link, range) = choose(location, &planned);
            let output = exchange::OutputRef {
                task: location.task.0,
                attempt: location.attempt.0,
            };
            let number = match planned.get_mut(link) {
                Some(known) => {
                    known.range = union(known.range, range);
                    known.outputs.push(output);
                    known.outputs.len() - 1
                }
                None => {
                    planned.push(Planned {
                        address: location.address.clone(),
                        outputs: vec![output],
                        range,
                    });
                    0
                }
            };
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            push(Via::Link { link, number });
        }
        let links = planned.into_iter().map(|planned| {
            let target = Target {
                address: planned.address,
                query: shared.query,
                stage,
                outputs: planned.outputs,
                range: planned.range,
                follow: shared.follow,
            };
            Link::new(target, shared.peers.clone(), shared.metrics.clone())
        });
        Route {
            stage,
            links: links.collect(),
            holders: holders.len(),
            outputs,
        }
    }

    /// What a stream reads, in its order.
    fn units(&self, which: Which) -> Vec<Unit> {
        let outputs = self.outputs.iter().enumerate();
        let unit = |output, routed: &Routed, partition| Unit {
            output,
            partition,
            via: routed.via,
        };
        let Which::Partition(partition) = which else {
            let units = outputs.flat_map(|(output, routed)| {
                let partitions = routed.location.partitions.iter();
                partitions.map(move |partition| unit(output, routed, partition))
            });
            return units.collect();
        };
        // Readers that all went by the list would all wait for the same holder, and then for the
        // next one. The outputs of one holder stay in the order in which their lane brings them.
        let first = partition as usize % self.holders.max(1);
        let mut units: Vec<(usize, Unit)> = outputs
            .filter(|(_, routed)| routed.location.partitions.contains(partition))
            .map(|(output, routed)| {
                let turn = (routed.holder + self.holders - first) % self.holders.max(1);
                (turn, unit(output, routed, partition))
            })
            .collect();
        units.sort_by_key(|(turn, _)| *turn);
        units.into_iter().map(|(_, unit)| unit).collect()
    }
}

fn union(a: PartitionRange, b: PartitionRange) -> PartitionRange {
    let first = a.first.min(b.first);
    PartitionRange::new(first, a.end().max(b.end()) - first)
}

/// One partition of one output.
#[derive(Debug, Clone, Copy)]
struct Unit {
    output: usize,
    partition: u32,
    via: Via,
}

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
