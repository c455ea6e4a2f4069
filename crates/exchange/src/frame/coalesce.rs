//! Small batches of one partition become frames of a sensible size.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

use super::compact::{compact, slice};
use super::{FRAME_BYTES, FRAME_ROWS};
use crate::store::{Account, Charge};

/// How many pieces are joined at a time. An exchange with thousands of partitions brings a few rows
/// at a time to each; held one by one, such pieces cost many times the memory of their rows, and
/// joined one by one each row would be copied over and over. So they are joined in two steps.
const FAN_IN: usize = 32;

/// A batch and the memory it is charged for.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) batch: RecordBatch,
    pub(crate) used: u64,
    pub(crate) charge: Charge,
}

impl Piece {
    /// Whether it is a frame by itself.
    pub(crate) fn fills_frame(&self) -> bool {
        self.batch.num_rows() >= FRAME_ROWS || self.used >= FRAME_BYTES
    }

    /// Whether joining it with others is not worth the copy.
    pub(crate) fn fills_half(&self) -> bool {
        self.batch.num_rows() >= FRAME_ROWS / 2 || self.used >= FRAME_BYTES / 2
    }
}

/// Pieces of one partition that wait to become a frame.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    joined: Vec<Piece>,
    fresh: Vec<Piece>,
    rows: usize,
    used: u64,
    /// Joining failed (a dictionary whose keys do not suffice for the values of all): each piece
    /// becomes a frame of its own.
    unjoinable: bool,
}

impl Pending {
    pub(crate) fn is_empty(&self) -> bool {
        self.joined.is_empty() && self.fresh.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.rows >= FRAME_ROWS || self.used >= FRAME_BYTES
    }

    pub(crate) fn push(&mut self, piece: Piece, schema: &SchemaRef, account: &Arc<Account>) {
        self.rows += piece.batch.num_rows();
        self.used += piece.used;
        self.fresh.push(piece);
        if self.fresh.len() >= FAN_IN && !self.unjoinable {
            match join(schema, &self.fresh, account) {
                Ok(piece) => {
                    self.fresh.clear();
                    self.joined.push(piece);
                }
                Err(_) => self.unjoinable = true,
            }
        }
    }

    /// All that waits: as one piece, or as they came if they cannot be joined.
    pub(crate) fn take(&mut self, schema: &SchemaRef, account: &Arc<Account>) -> Vec<Piece> {
        let taken = std::mem::take(self);
        let mut pieces = taken.joined;
        pieces.extend(taken.fresh);
        if pieces.len() > 1
            && !taken.unjoinable
            && let Ok(piece) = join(schema, &pieces, account)
        {
            return vec![piece];
        }
        pieces
    }
}

fn join(schema: &SchemaRef, pieces: &[Piece], account: &Arc<Account>) -> Result<Piece, ArrowError> {
    let joined = concat_batches(schema, pieces.iter().map(|piece| &piece.batch))?;
    let measured = compact(joined)?;
    Ok(Piece {
        batch: measured.batch,
        used: measured.used,
        charge: account.charge(measured.retained),
    })
}

/// Cuts a piece that is much larger than a frame. Everything but views is shared, not copied.
pub(crate) fn split(piece: Piece) -> Result<Vec<Piece>, ArrowError> {
    // Frames count their rows in 32 bits; without columns, rows have no bytes.
    const MOST_ROWS: usize = 1 << 24;
    let rows = piece.batch.num_rows();
    if rows <= 1 || (piece.used <= 2 * FRAME_BYTES && rows <= MOST_ROWS) {
        return Ok(vec![piece]);
    }
    let by_bytes = usize::try_from(piece.used.div_ceil(FRAME_BYTES)).unwrap_or(rows);
    let count = by_bytes.max(rows.div_ceil(MOST_ROWS)).clamp(1, rows);
    let step = rows.div_ceil(count);
    let mut charge = piece.charge;
    let each = charge.bytes() / count as u64;
    let mut pieces = Vec::with_capacity(count);
    for offset in (0..rows).step_by(step) {
        let length = step.min(rows - offset);
        pieces.push(Piece {
            batch: slice(&piece.batch, offset, length)?,
            used: piece.used * length as u64 / rows as u64,
            charge: charge.split(each),
        });
    }
    // What rounding left.
    if let Some(last) = pieces.last_mut() {
        last.charge.absorb(charge);
    }
    Ok(pieces)
}
