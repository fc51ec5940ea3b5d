//! Large answers: together they take a bounded room, however slowly their readers read.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hyper::body::{Body as _, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes up to which an answer is not counted: the system's own buffer takes it.
const SMALL: u64 = 64 << 10;
/// KiB of large answers at once.
const ROOM: u32 = 64 << 10;

/// What is left of the room for large answers.
#[derive(Clone, Debug)]
pub(super) struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(usize::try_from(ROOM).unwrap_or(usize::MAX))))
    }
}

/// An answer that gives its room back when it is sent, or when its reader goes away.
struct Held {
    body: Body,
    _room: OwnedSemaphorePermit,
}

impl hyper::body::Body for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Room {
    /// Refuses a large answer while others, read too slowly, take all the room.
    pub(super) fn keep(&self, response: Response) -> Response {
        let size = response.body().size_hint().lower();
        if size <= SMALL {
            return response;
        }
        let wanted = u32::try_from(size >> 10).unwrap_or(u32::MAX).min(ROOM);
        let Ok(permit) = Arc::clone(&self.0).try_acquire_many_owned(wanted) else {
            let text = "too many large answers are being read slowly: try again later";
            return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
        };
        response.map(|body| Body::new(Held { body, _room: permit }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_given_back_when_an_answer_is_sent_or_given_up() {
        let room = Room::default();
        let answer = || room.keep(Body::from(vec![b'x'; 40 << 20]).into_response());

        let first = answer();
        let second = answer();
        let small = room.keep("small".into_response());
        drop(first);
        let third = answer();

        assert_eq!([second, small, third].map(|answer| answer.status().as_u16()), [503, 200, 200]);
    }
}
