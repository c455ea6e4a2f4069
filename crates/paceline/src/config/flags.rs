//! One flag for every option.

use std::marker::PhantomData;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::layers::FlagValue;
use super::{Configuration, Role};

/// A role as a type, for clap.
pub trait ForRole: Clone + Send + Sync + 'static {
    /// The role.
    const ROLE: Role;
}

/// The options that were given as flags.
#[derive(Default)]
pub struct Flags {
    pub(super) values: Vec<FlagValue>,
}

/// The flags of a role: `--config`, and one for every option of its sections.
pub struct RoleFlags<R> {
    /// The file, if one was named.
    pub config: Option<PathBuf>,
    /// The options.
    pub flags: Flags,
    role: PhantomData<R>,
}

/// The flag of an option.
pub(super) fn long(section: &str, field: &str) -> String {
    format!("--{}", id(section, field))
}

fn id(section: &str, field: &str) -> String {
    format!("{section}-{field}").replace('_', "-")
}

fn fields(role: Role) -> impl Iterator<Item = (&'static str, &'static super::Field)> {
    let configuration = Configuration::default();
    let sections = configuration.sections().map(|section| {
        let wanted = role.sections().contains(&section.name());
        let fields = if wanted { section.fields() } else { &[] };
        (section.name(), fields)
    });
    sections
        .into_iter()
        .flat_map(|(section, fields)| fields.iter().map(move |field| (section, field)))
}

impl<R: ForRole> Args for RoleFlags<R> {
    fn augment_args(command: Command) -> Command {
        let defaults = Configuration::default();
        let config = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .env("PACELINE_CONFIG")
            .value_parser(clap::value_parser!(PathBuf))
            .help("A TOML file with options; see `paceline config`");
        let command = command.arg(config);
        fields(R::ROLE).fold(command, |command, (section, field)| {
            let sections = defaults.sections();
            let value = sections
                .iter()
                .find(|known| known.name() == section)
                .and_then(|known| known.get(field.name))
                .map_or(String::new(), |value| value.to_string());
            let doc = field.doc.trim().replace('\n', " ");
            let name = id(section, field.name);
            command.arg(
                Arg::new(name.clone())
                    .long(name)
                    .value_name("VALUE")
                    .help_heading(format!("Options of [{section}]"))
                    .action(ArgAction::Set)
                    .help(format!("{} [default: {value}]", doc.replace("  ", " "))),
            )
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<R: ForRole> FromArgMatches for RoleFlags<R> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let values = fields(R::ROLE)
            .filter_map(|(section, field)| {
                let text = matches.get_one::<String>(&id(section, field.name))?;
                Some(FlagValue {
                    section: section.to_string(),
                    field: field.name.to_string(),
                    text: text.clone(),
                })
            })
            .collect();
        Ok(RoleFlags {
            config: matches.get_one("config").cloned(),
            flags: Flags { values },
            role: PhantomData,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
