//! Configuration: every option of every role, and where its value comes from.
//!
//! Defaults give way to a TOML file, that to the environment, that to flags. One list of sections
//! and fields ([`sections`]) is the source of all of it: the keys of the file, the variables, the
//! flags, `paceline config` and `docs/configuration.md`.
//!
//! ```text
//!   scheduler.small_plan_bytes = "32MiB"            in the file, under [scheduler]
//!   PACELINE_SCHEDULER_SMALL_PLAN_BYTES=32MiB       in the environment
//!   --scheduler-small-plan-bytes 32MiB              as a flag
//! ```

mod error;
mod flags;
mod layers;
mod nearest;
mod print;
mod relations;
mod section;
mod sections;
mod setting;
mod tables;

#[cfg(test)]
mod tests;

pub use error::{ConfigError, Origin};
pub use flags::{Flags, ForRole, RoleFlags};
pub use layers::load;
pub use print::{markdown, toml};
use section::Field;
pub(crate) use sections::cache_directory;
pub use sections::{Configuration, Listen, Log, Role};
pub use setting::{Auto, Codec, InvalidSetting, Masked, Millis, Setting};
pub use tables::Table;
