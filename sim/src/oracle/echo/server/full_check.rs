//! Compares the whole of the server's ledger with the model's.

use echosphere_core::ConnId;

use super::{Flight, ServerModel, X};
use crate::words;

/// Connections and flights that are compared at every event, and the number that each event adds where there are more.
const WHOLE: usize = 32;
const MORE: usize = 2;
/// This number of bytes of X costs as much as a flight.
const BYTES: usize = 256;

impl ServerModel {
    /// An event comes. Returns whether everything is to be compared after it.
    pub(in crate::oracle::echo) fn begin(&mut self) -> bool {
        self.credit += MORE;
        let size = self.conns.len() + self.flight_count + self.flight_bytes / BYTES;
        self.due = self.deep && size <= self.credit.max(WHOLE);
        if self.due {
            self.credit = 0;
        }
        self.due
    }

    /// Compares the server's own books with these; only if it is due.
    pub(in crate::oracle::echo) fn compare(
        &mut self,
        flights: impl Iterator<Item = (X, Option<ConnId>, ConnId)>,
    ) -> Result<(), String> {
        self.comparison += 1;
        let now = self.comparison;
        for id in &self.listed {
            match self.conns.get_mut(*id) {
                Some(conn) if conn.compared != now => conn.compared = now,
                Some(_) => return Err(format!("the server says twice that {id:?} is live")),
                None => return Err(format!("the server says that {id:?} is live")),
            }
        }
        if self.listed.len() < self.conns.len() {
            let missing = self.conns.iter().filter(|(_, conn)| conn.compared != now);
            let missing = missing.map(|(id, _)| format!("{id:?}"));
            return Err(format!(
                "the server does not know of these connections: {}",
                words::list(missing)
            ));
        }
        let mut count = 0;
        for (x, waiter, holder) in flights {
            count += 1;
            let mut mine = self.flights.get_mut(&x).into_iter().flatten();
            let same =
                |flight: &&mut Flight| (flight.waiter, flight.holder, flight.compared != now) == (waiter, holder, true);
            let Some(flight) = mine.find(same) else {
                return Err(format!(
                    "the server has X number {x} held by {holder:?} for {}, once more than it should",
                    words::conn(waiter)
                ));
            };
            flight.compared = now;
            if !self.conns.contains(holder) {
                return Err(format!("X number {x} is held by {holder:?}, which is not live"));
            }
        }
        if count < self.flight_count {
            let all = self
                .flights
                .iter()
                .flat_map(|(x, flights)| flights.iter().map(move |flight| (x, flight)));
            let missing = all.filter(|(_, flight)| flight.compared != now);
            let missing = missing.map(|(x, flight)| format!("X number {x}, {flight}"));
            return Err(format!("the server does not know of: {}", words::list(missing)));
        }
        Ok(())
    }
}
