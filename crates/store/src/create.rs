//! Create if absent: the one conditional write, and how its outcome is found out.
//!
//! A create is sent; the answer may be yes, "exists", or a failure that says nothing. Only yes is
//! believed. Everything else is settled by reading the key back:
//!
//! ```text
//!   send ── yes ─────────────────────────────► Won
//!     │
//!     └─ "exists", failure ── read back ── own write id ──► Won
//!            ▲                   │  └───── another's ─────► Exists
//!            │                   ├──────── no answer ─────► Unknown
//!            └── nothing there ──┘  (the same bytes again; after SENDS times: Unknown)
//! ```
//!
//! In a directory that is synced, yes means that it outlasts a power cut (see [`crate::directory`]), and
//! what is read back is synced before it is told of.
//!
//! Sending again is safe, because the same bytes under the same key are the same write: if an
//! earlier one lands late, it is this one.

use std::io;
use std::path::Path;

use bytes::Bytes;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, PutMode, PutOptions, PutPayload};
use tokio::time::timeout_at;

use crate::directory;
use crate::frame::{self, WriteId};
use crate::request::{self, Failure, FailureKind, Operation, Patience, backoff};
use crate::{Key, StateStore, StoreError};

/// How often one create is sent at most.
const SENDS: u32 = 3;

/// How a create ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// The object is there, and it is ours.
    Won,
    /// Another write was there before; this is its payload.
    Exists(Bytes),
}

impl StateStore {
    /// Creates an object that is not there yet.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] if it could not be found out whether the object was created: it may
    /// be there, or appear later. Any other [`StoreError`] says that it was not created by this call.
    ///
    /// # Cancel safety
    /// Dropped half way, the object may or may not be created, as with `Unknown`.
    pub async fn create(&self, key: &Key, payload: &[u8]) -> Result<Created, StoreError> {
        let result = self.create_and_settle(key, payload).await;
        let outcome = match &result {
            Ok((Created::Won, 1)) => "won",
            Ok((Created::Won, _)) => "won_after_doubt",
            Ok((Created::Exists(_), _)) => "exists",
            Err(StoreError::Unknown { .. }) => "unknown",
            Err(_) => "refused",
        };
        let creates = &self.inner.metrics.creates;
        creates.with_label_values(&[outcome]).inc();
        result.map(|(created, _)| created)
    }

    /// The outcome, and the number of requests that it took to know it.
    async fn create_and_settle(
        &self,
        key: &Key,
        payload: &[u8],
    ) -> Result<(Created, u32), StoreError> {
        // Known before it is sent, so what is large has its time.
        let transfer = request::transfer(payload.len());
        let deadline = self.deadline() + transfer * SENDS;
        let limit = self.inner.limits.request + transfer;
        let path = key.under(&self.inner.root);
        let write = WriteId::random();
        let body = frame::seal(write, payload);
        // Whether any send so far may yet land.
        let mut in_doubt = false;
        let mut requests = 0;
        let mut last = String::new();
        for send in 0..SENDS {
            if send > 0 {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "before a send that failed is repeated"
                )]
                tokio::time::sleep(backoff(send)).await;
            }
            requests += 1;
            let (sent, patience) = (self.send(&path, &body), Patience::new(limit, deadline));
            let sent = self.request(Operation::Create, &patience, sent);
            let Failure { kind, reason } = match sent.await {
                Ok(()) => return Ok((Created::Won, requests)),
                Err(failure) => failure,
            };
            in_doubt |= kind.may_still_land();
            let refused = kind == FailureKind::Refused && !in_doubt;
            requests += 1;
            match self.read_whole(key, deadline).await {
                Ok(Some(found)) => {
                    let kept = timeout_at(deadline, self.keep(&path)).await;
                    return match kept {
                        Ok(Ok(())) => Ok((judge(write, found), requests)),
                        Ok(Err(error)) => Err(self.unknown(key, error.to_string())),
                        Err(_) => Err(self.unknown(key, reason)),
                    };
                }
                Err(damaged @ StoreError::Corrupt { .. }) => return Err(damaged),
                Ok(None) | Err(_) if refused => {
                    return Err(self.refused(Operation::Create, key, reason));
                }
                Ok(None) => last = reason,
                Err(_) => return Err(self.unknown(key, reason)),
            }
        }
        Err(self.unknown(key, last))
    }

    /// Sends a create once.
    async fn send(&self, path: &ObjectPath, body: &Bytes) -> object_store::Result<()> {
        if self.inner.synced {
            let (name, body) = (path.to_string(), body.clone());
            let create = move |at: &Path| directory::create(&at.join(name), &body);
            if let Some(created) = self.in_directory(create).await {
                return created.map_err(|error| directory::failure(path, error));
            }
        }
        let payload = PutPayload::from_bytes(body.clone());
        let options = PutOptions::from(PutMode::Create);
        let put = self.inner.objects.put_opts(path, payload, options);
        put.await.map(drop)
    }

    /// Sees to it that what was found stays: who created it may not have come to that yet.
    async fn keep(&self, path: &ObjectPath) -> io::Result<()> {
        if !self.inner.synced {
            return Ok(());
        }
        let name = path.to_string();
        let keep = move |at: &Path| directory::keep(at, &at.join(name));
        self.in_directory(keep).await.unwrap_or(Ok(()))
    }
}

fn judge(write: WriteId, (there, payload): (WriteId, Bytes)) -> Created {
    #[cfg(feature = "sabotage")]
    if paceline_sabotage::leaves_out(paceline_sabotage::Check::ReadBack) {
        return Created::Exists(payload);
    }
    if there == write {
        Created::Won
    } else {
        Created::Exists(payload)
    }
}
