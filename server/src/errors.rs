//! What calls raise.

use zeo_proto::exception::Exception;
use zeo_proto::message::CallError;

pub use zeo_storage::exceptions::exception_from;

/// The exception for a call with wrong arguments.
pub fn exception_from_call(error: &CallError) -> Exception {
    match error {
        CallError::NoObject(key) => Exception::no_object((**key).clone()),
        CallError::Step(step) => step.why.clone(),
        _ => Exception::type_error(error.to_string()),
    }
}
