//! Both doors over a real engine in memory, asked by real clients over real sockets.

mod engine;
mod flight;
mod flight_metadata;
mod flight_sessions;
mod garbage;
mod house;
mod http;
mod queries;
mod results;
mod shutdown;
mod submissions;
mod submit;
