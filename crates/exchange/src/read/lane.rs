//! What arrives for one partition over a link, and how much more may.

use std::collections::VecDeque;

use bytes::Bytes;
use paceline_proto::exchange;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// A frame that has arrived.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) bytes: Bytes,
    pub(crate) crc32: u32,
    output: u32,
}

/// One partition of a link. It has one reader, which takes frames off and grants credit, and one
/// writer, the link's task.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Arrived>,
    /// Bytes in `frames`.
    buffered: i64,
    /// Credit that the holder has not used yet; below zero if a frame exceeded it.
    credit: i64,
    /// Where a new stream would go on.
    output: u32,
    arrived: u32,
    ended: bool,
    lost: Option<(u32, String)>,
    closed: bool,
}

/// What there is to read.
#[derive(Debug)]
pub(crate) enum Taken {
    Frame(Arrived),
    /// Nothing more of that output.
    End,
    Lost(String),
    Nothing,
}

impl Lane {
    /// The next frame of the link's output number `output`.
    pub(crate) fn take(&self, output: u32) -> Taken {
        let mut state = self.state.lock();
        match state.frames.front() {
            Some(frame) if frame.output > output => return Taken::End,
            Some(_) => {}
            None => {
                return match &state.lost {
                    Some((lost, detail)) if *lost <= output => Taken::Lost(detail.clone()),
                    Some(_) => Taken::End,
                    None if state.ended => Taken::End,
                    None => Taken::Nothing,
                };
            }
        }
        match state.frames.pop_front() {
            Some(frame) => {
                state.buffered -= length(&frame.bytes);
                Taken::Frame(frame)
            }
            None => Taken::Nothing,
        }
    }

    /// Waits until something arrived, the lane ended or the link failed; perhaps for nothing.
    pub(crate) async fn changed(&self) {
        // The one reader may come late: a permit waits for it.
        self.wake.notified().await;
    }

    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// How much credit to grant so that up to `window` bytes are here or on their way. Nothing while
    /// the holder still has about enough, to keep messages few.
    pub(crate) fn grant(&self, window: u64) -> Option<u64> {
        let mut state = self.state.lock();
        if state.closed || state.ended || state.lost.is_some() {
            return None;
        }
        let window = i64::try_from(window).unwrap_or(i64::MAX / 2);
        let more = window - state.credit - state.buffered;
        if more <= 0 || (state.credit > 0 && more < window / 2) {
            return None;
        }
        state.credit += more;
        u64::try_from(more).ok()
    }

    /// The credit that a new stream begins with.
    pub(crate) fn credit_anew(&self) -> Option<u64> {
        let mut state = self.state.lock();
        state.credit = state.credit.max(0);
        let open = !state.closed && !state.ended && state.lost.is_none();
        u64::try_from(state.credit).ok().filter(|c| open && *c > 0)
    }

    /// Where a new stream goes on, if not at the beginning. `outputs` is how many the link has.
    pub(crate) fn position(&self, partition: u32, outputs: u32) -> Option<exchange::Position> {
        let state = self.state.lock();
        let (output, frames) = if state.closed || state.ended || state.lost.is_some() {
            (outputs, 0)
        } else {
            (state.output, state.arrived)
        };
        ((output, frames) != (0, 0)).then_some(exchange::Position {
            partition,
            output,
            frames,
        })
    }

    /// Takes in what the holder sent. False if it was not allowed to send it.
    pub(crate) fn arrive(&self, frame: exchange::Frame, bytes: Bytes) -> bool {
        let mut state = self.state.lock();
        if let Some(lost) = frame.lost {
            state.lost = Some((frame.output, lost.reason));
        } else if frame.end {
            state.ended = true;
        } else {
            if state.credit <= 0 || frame.output < state.output {
                return false;
            }
            if frame.output > state.output {
                (state.output, state.arrived) = (frame.output, 0);
            }
            state.arrived += 1;
            state.credit -= length(&bytes);
            if !state.closed {
                state.buffered += length(&bytes);
                state.frames.push_back(Arrived {
                    bytes,
                    crc32: frame.crc32,
                    output: frame.output,
                });
            }
        }
        drop(state);
        self.wake();
        true
    }

    /// Nobody reads any more. True if somebody did until now.
    pub(crate) fn close(&self) -> bool {
        let mut state = self.state.lock();
        state.frames.clear();
        state.buffered = 0;
        !std::mem::replace(&mut state.closed, true)
    }

    pub(crate) fn is_done(&self) -> bool {
        let state = self.state.lock();
        state.closed || state.ended || state.lost.is_some()
    }
}

fn length(bytes: &Bytes) -> i64 {
    i64::try_from(bytes.len()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(output: u32) -> exchange::Frame {
        exchange::Frame {
            output,
            ..exchange::Frame::default()
        }
    }

    #[test]
    fn credit_covers_what_is_here_and_on_its_way() {
        let lane = Lane::default();
        assert_eq!(lane.grant(100), Some(100));
        assert_eq!(lane.grant(100), None);
        // Larger than all the credit: allowed once, and counted.
        assert!(lane.arrive(frame(0), Bytes::from(vec![0; 250])));
        assert!(!lane.arrive(frame(0), Bytes::from(vec![0; 1])));
        assert_eq!(lane.grant(100), None);
        assert!(matches!(lane.take(0), Taken::Frame(_)));
        assert_eq!(lane.grant(100), Some(250));
        assert!(matches!(lane.take(0), Taken::Nothing));
    }

    #[test]
    fn an_output_ends_where_the_next_begins() {
        let lane = Lane::default();
        lane.grant(1000);
        assert!(lane.arrive(frame(1), Bytes::from_static(b"x")));
        assert!(matches!(lane.take(0), Taken::End));
        assert!(matches!(lane.take(1), Taken::Frame(_)));
        let position = lane.position(7, 3).unwrap();
        assert_eq!((position.output, position.frames), (1, 1));
        let mut end = frame(0);
        end.end = true;
        assert!(lane.arrive(end, Bytes::new()));
        assert!(matches!(lane.take(2), Taken::End));
        assert_eq!(lane.position(7, 3).unwrap().output, 3);
    }
}
