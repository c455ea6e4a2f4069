//! What passes between one process and all others, whoever of them began it.

use std::collections::BTreeSet;
use std::io;

use super::Cluster;
use crate::Traffic;
use crate::process::{ClusterError, Doors, Node, ProcessError, Role};
use crate::proxy::{Ends, connections_of};

/// Connections between a process and others of its cluster, by way of their cluster ports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Links {
    /// How many there are that others made to it.
    pub to: usize,
    /// How many there are that it made.
    pub from: usize,
    /// On how many of all of them something waits because they stall.
    pub held_up: usize,
}

/// A process behind doors.
struct Inside<'a> {
    process: u32,
    doors: &'a Doors,
}

impl Cluster {
    /// From now on, and also for the connections there are: what passes between a process and all others,
    /// clients among them, both on what they connect to it and on what it connects to them. The store
    /// goes on being reached.
    ///
    /// # Errors
    /// If it is down or the plan has no doors, or the system does not say which connections it has.
    pub fn set_traffic(
        &self,
        role: Role,
        index: usize,
        traffic: Traffic,
    ) -> Result<(), ClusterError> {
        let inside = self.inside(role, index)?;
        inside.doors.set(traffic);
        // Doors look up who makes a connection from now on. So what it has a moment later is all that
        // they have not looked up.
        self.callers.set(inside.process, traffic);
        let made = made(role, index, inside.process)?;
        for doors in self.doors() {
            doors.set_of(inside.process, &made, traffic);
        }
        Ok(())
    }

    /// The connections between a process and others of the cluster.
    ///
    /// # Errors
    /// If it is down or the plan has no doors, or the system does not say which connections it has.
    pub fn links(&self, role: Role, index: usize) -> Result<Links, ClusterError> {
        let inside = self.inside(role, index)?;
        let made = made(role, index, inside.process)?;
        let to = inside.doors.open();
        let mut links = Links {
            to: to.count,
            from: 0,
            held_up: to.held_up,
        };
        for doors in self.doors() {
            let from = doors.open_of(inside.process, &made);
            links.from += from.count;
            links.held_up += from.held_up;
        }
        Ok(links)
    }

    fn doors(&self) -> impl Iterator<Item = &Doors> {
        let nodes = self.schedulers.iter().chain(&self.executors);
        nodes.filter_map(Node::doors)
    }

    fn inside(&self, role: Role, index: usize) -> Result<Inside<'_>, ClusterError> {
        let node = self.nodes(role).get(index);
        let inside = node.and_then(|node| {
            Some(Inside {
                process: node.process.as_ref()?.id()?,
                doors: node.doors.as_ref()?,
            })
        });
        inside.ok_or_else(|| failed(role, index, io::ErrorKind::NotFound.into()))
    }
}

fn made(role: Role, index: usize, process: u32) -> Result<BTreeSet<Ends>, ClusterError> {
    connections_of(process).map_err(|source| failed(role, index, source))
}

fn failed(role: Role, index: usize, source: io::Error) -> ClusterError {
    ClusterError::Process(ProcessError::System {
        name: format!("{role} {}", index + 1),
        what: "tell the connections of",
        source,
    })
}
