//! Whose turn it is to be sent something.

use std::collections::VecDeque;

use paceline_model::MOST_PARTITIONS;
use paceline_proto::exchange;
use tonic::Status;

/// How far one partition has been sent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Lane {
    /// Bytes that may still be sent; below zero if a frame exceeded them.
    pub(crate) credit: i64,
    /// Index into the request's outputs.
    pub(crate) output: usize,
    /// Frames of that output that have been sent.
    pub(crate) frames: usize,
    /// The end has been sent.
    pub(crate) done: bool,
    state: Turn,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Turn {
    /// Has no credit, or is done.
    #[default]
    Idle,
    /// In the queue.
    Queued,
    /// Has credit, but what it is to be sent is not written yet.
    Blocked,
}

/// All partitions of a request. Those that can be sent something take turns.
#[derive(Debug)]
pub(crate) struct Lanes {
    first: u32,
    lanes: Vec<Lane>,
    queue: VecDeque<usize>,
    blocked: Vec<usize>,
    undone: usize,
}

impl Lanes {
    pub(crate) fn new(request: &exchange::Request) -> Result<Self, Status> {
        let (first, count) = (request.first_partition, request.partitions);
        if count > MOST_PARTITIONS || first.checked_add(count).is_none() {
            return Err(Status::invalid_argument(format!(
                "the request asks for {count} partitions from {first} on; at most \
                 {MOST_PARTITIONS} can be read at once"
            )));
        }
        let mut lanes = Lanes {
            first,
            lanes: vec![Lane::default(); count as usize],
            queue: VecDeque::new(),
            blocked: Vec::new(),
            undone: count as usize,
        };
        for position in &request.resume {
            let index = lanes.index(position.partition)?;
            let Some(lane) = lanes.lanes.get_mut(index) else {
                continue;
            };
            lane.output = position.output as usize;
            lane.frames = position.frames as usize;
            if lane.output >= request.outputs.len() && !lane.done {
                lane.done = true;
                lanes.undone -= 1;
            }
        }
        Ok(lanes)
    }

    fn index(&self, partition: u32) -> Result<usize, Status> {
        let index = partition.checked_sub(self.first).map(|i| i as usize);
        index.filter(|i| *i < self.lanes.len()).ok_or_else(|| {
            Status::invalid_argument(format!("partition {partition} is not in the request"))
        })
    }

    pub(crate) fn partition(&self, index: usize) -> u32 {
        self.first + u32::try_from(index).unwrap_or(u32::MAX)
    }

    pub(crate) fn get(&self, index: usize) -> Lane {
        self.lanes.get(index).copied().unwrap_or_default()
    }

    pub(crate) fn add_credit(&mut self, credit: &exchange::Credit) -> Result<(), Status> {
        let index = self.index(credit.partition)?;
        if let Some(lane) = self.lanes.get_mut(index) {
            let bytes = i64::try_from(credit.bytes).unwrap_or(i64::MAX);
            lane.credit = lane.credit.saturating_add(bytes);
            if lane.credit > 0 && !lane.done && lane.state == Turn::Idle {
                lane.state = Turn::Queued;
                self.queue.push_back(index);
            }
        }
        Ok(())
    }

    /// The lane whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<usize> {
        let index = self.queue.pop_front()?;
        if let Some(lane) = self.lanes.get_mut(index) {
            lane.state = Turn::Idle;
        }
        Some(index)
    }

    /// The lane was sent something: it goes to the end of the queue if it may be sent more.
    pub(crate) fn advance(&mut self, index: usize, lane: Lane) {
        if let Some(known) = self.lanes.get_mut(index) {
            *known = lane;
            if lane.done {
                self.undone = self.undone.saturating_sub(1);
            } else if lane.credit > 0 {
                known.state = Turn::Queued;
                self.queue.push_back(index);
            }
        }
    }

    /// What the lane is to be sent is not there yet.
    pub(crate) fn block(&mut self, index: usize, lane: Lane) {
        if let Some(known) = self.lanes.get_mut(index) {
            *known = lane;
            known.state = Turn::Blocked;
            self.blocked.push(index);
        }
    }

    /// Something may be there now.
    pub(crate) fn unblock(&mut self) {
        for index in self.blocked.drain(..) {
            if let Some(lane) = self.lanes.get_mut(index) {
                lane.state = Turn::Queued;
                self.queue.push_back(index);
            }
        }
    }

    pub(crate) fn all_done(&self) -> bool {
        self.undone == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credit(partition: u32, bytes: u64) -> exchange::Credit {
        exchange::Credit { partition, bytes }
    }

    #[test]
    fn lanes_with_credit_take_turns_and_others_wait() {
        let request = exchange::Request {
            first_partition: 10,
            partitions: 3,
            ..exchange::Request::default()
        };
        let mut lanes = Lanes::new(&request).unwrap();
        lanes.add_credit(&credit(12, 5)).unwrap();
        lanes.add_credit(&credit(10, 5)).unwrap();
        lanes.add_credit(&credit(10, 5)).unwrap();
        assert!(lanes.add_credit(&credit(13, 5)).is_err());
        assert!(lanes.add_credit(&credit(9, 5)).is_err());

        let index = lanes.pop().unwrap();
        assert_eq!(lanes.partition(index), 12);
        let mut lane = lanes.get(index);
        lane.credit -= 100;
        lanes.advance(index, lane);
        let index = lanes.pop().unwrap();
        assert_eq!((lanes.partition(index), lanes.get(index).credit), (10, 10));
        lanes.block(index, lanes.get(index));
        assert_eq!(lanes.pop(), None);
        lanes.unblock();
        assert_eq!(lanes.pop(), Some(index));
        // Still in debt, so this does not bring its turn.
        lanes.add_credit(&credit(12, 50)).unwrap();
        assert_eq!(lanes.pop(), None);
        lanes.add_credit(&credit(12, 50)).unwrap();
        assert_eq!(lanes.pop().map(|i| lanes.partition(i)), Some(12));
    }

    #[test]
    fn a_request_beyond_all_bounds_is_refused() {
        let mut request = exchange::Request {
            first_partition: u32::MAX,
            partitions: 2,
            ..exchange::Request::default()
        };
        assert!(Lanes::new(&request).is_err());
        (request.first_partition, request.partitions) = (0, u32::MAX);
        assert!(Lanes::new(&request).is_err());
    }
}
