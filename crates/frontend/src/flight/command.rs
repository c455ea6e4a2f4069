//! What a descriptor, a ticket or an action carries.

use arrow_flight::FlightDescriptor;
use arrow_flight::flight_descriptor::DescriptorType;
use arrow_flight::sql::{Any, Command, CommandStatementQuery, ProstMessageExt};
use paceline_model::QueryError;
use prost::Message;

use super::{unsupported, user};

const TYPE_PREFIX: &str = "type.googleapis.com/";

/// The command of a descriptor. Plain text is taken for a statement, so that a client of Arrow
/// Flight that knows nothing of Flight SQL can ask as well.
///
/// # Errors
/// A user error if there is none.
pub(super) fn of_descriptor(descriptor: &FlightDescriptor) -> Result<Command, QueryError> {
    if descriptor.r#type == DescriptorType::Path as i32 {
        return Err(user(
            "the descriptor is a path; Paceline knows none: send a Flight SQL command or a \
             statement as the descriptor's command",
        ));
    }
    if let Some(any) = any(&descriptor.cmd) {
        return decode(any);
    }
    match std::str::from_utf8(&descriptor.cmd) {
        Ok(sql) if !sql.trim().is_empty() => {
            Ok(Command::CommandStatementQuery(CommandStatementQuery {
                query: sql.to_string(),
                transaction_id: None,
            }))
        }
        _ => Err(user(
            "the descriptor's command is neither a Flight SQL command nor a statement in UTF-8",
        )),
    }
}

/// The command of a ticket.
///
/// # Errors
/// A user error if there is none.
pub(super) fn of_ticket(ticket: &[u8]) -> Result<Command, QueryError> {
    let any = any(ticket).ok_or_else(|| {
        user("this is no Flight SQL ticket; use one from GetFlightInfo unchanged")
    })?;
    decode(any)
}

/// The request that an action carries.
///
/// # Errors
/// A user error if it carries something else.
pub(super) fn of_action<M: ProstMessageExt>(body: &[u8]) -> Result<M, QueryError> {
    let any = any(body).filter(|any| any.type_url == M::type_url());
    let any = any.ok_or_else(|| {
        let expected = M::type_url().trim_start_matches(TYPE_PREFIX);
        user(format!("the action's body is no {expected}"))
    })?;
    M::decode(&*any.value).map_err(|e| user(format!("the action's body is damaged: {e}")))
}

fn any(bytes: &[u8]) -> Option<Any> {
    let any = Any::decode(bytes).ok()?;
    any.type_url.starts_with(TYPE_PREFIX).then_some(any)
}

fn decode(any: Any) -> Result<Command, QueryError> {
    match Command::try_from(any) {
        Ok(Command::Unknown(any)) => {
            let name = any.type_url.trim_start_matches(TYPE_PREFIX);
            Err(unsupported(format!("'{name}' is no command of Flight SQL")))
        }
        Ok(command) => Ok(command),
        Err(error) => Err(user(format!("the command is damaged: {error}"))),
    }
}

/// The command's name, for messages.
pub(super) fn name(command: &Command) -> &str {
    let url = command.type_url();
    url.rsplit('.').next().unwrap_or(url)
}

/// Refuses statements inside a transaction.
///
/// # Errors
/// Unsupported, if there is one.
pub(super) fn no_transaction(id: Option<&[u8]>) -> Result<(), QueryError> {
    match id {
        None | Some([]) => Ok(()),
        Some(_) => Err(unsupported(
            "there are no transactions: every statement commits by itself",
        )),
    }
}

#[cfg(test)]
mod tests {
    use paceline_model::ErrorClass;

    use super::*;

    #[test]
    fn text_is_a_statement() {
        let command = of_descriptor(&FlightDescriptor::new_cmd("SELECT 1")).unwrap();
        assert!(matches!(command, Command::CommandStatementQuery(q) if q.query == "SELECT 1"));
    }

    #[test]
    fn garbage_is_the_clients_fault() {
        for garbage in [&b""[..], b"  ", b"\xff\xfe\x00", b"\x0a\xff"] {
            let descriptor = FlightDescriptor::new_cmd(garbage.to_vec());
            assert_eq!(
                of_descriptor(&descriptor).unwrap_err().class,
                ErrorClass::User
            );
            assert_eq!(of_ticket(garbage).unwrap_err().class, ErrorClass::User);
        }
        let path = FlightDescriptor::new_path(vec!["a".to_string()]);
        assert_eq!(of_descriptor(&path).unwrap_err().class, ErrorClass::User);
    }

    #[test]
    fn an_unknown_command_is_named() {
        let any = Any {
            type_url: format!("{TYPE_PREFIX}arrow.flight.protocol.sql.CommandDance"),
            value: Default::default(),
        };
        let error = of_ticket(&any.encode_to_vec()).unwrap_err();
        assert_eq!(error.class, ErrorClass::Unsupported);
        assert!(error.message.contains("CommandDance"), "{error}");
    }

    #[test]
    fn a_damaged_command_is_the_clients_fault() {
        let any = Any {
            type_url: CommandStatementQuery::type_url().to_string(),
            value: vec![0xff, 0xff].into(),
        };
        let error = of_ticket(&any.encode_to_vec()).unwrap_err();
        assert_eq!(error.class, ErrorClass::User);
    }
}
