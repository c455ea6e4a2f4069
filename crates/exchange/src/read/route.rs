//! Which outputs are read over which links, and in which order.
//!
//! What is read comes in *units*: one partition of one output each. Those of this process come from the
//! store, all others over links.

use std::collections::BTreeMap;

use paceline_model::{OutputLocation, PartitionRange, StageId};
use paceline_proto::exchange;

use super::input::{Shared, StageOutputs, Which};
use super::link::{Link, Target};

/// How each output of a stage is reached.
#[derive(Debug)]
pub(crate) struct Route {
    pub(super) stage: StageId,
    pub(super) outputs: Vec<Routed>,
    pub(super) links: Vec<Link>,
    /// How many holders the outputs lie with.
    holders: usize,
}

#[derive(Debug)]
pub(super) struct Routed {
    pub(super) location: OutputLocation,
    via: Via,
    /// The number of its holder, in the order in which the outputs name them: whoever reads, and
    /// whatever is local to it, numbers them alike.
    holder: usize,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Via {
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
    pub(super) fn units(&self, which: Which) -> Vec<Unit> {
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
pub(super) struct Unit {
    pub(super) output: usize,
    pub(super) partition: u32,
    pub(super) via: Via,
}
