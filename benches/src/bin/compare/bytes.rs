//! The heap that entries take.

use cache_benches::heap;
use cache_benches::peer::{self, Peer};
use cache_benches::peers::{self, VisitPeers};
use cache_benches::row::Row;

use crate::Setup;

const ENTRIES: u64 = 1_000_000;

pub(crate) fn bytes(setup: &Setup, bench: &'static str) -> Vec<Row> {
    let mut bytes = Bytes { setup, bench, rows: vec![] };
    peers::everyone(&setup.request, &mut bytes);
    bytes.rows
}

struct Bytes<'a> {
    setup: &'a Setup,
    bench: &'static str,
    rows: Vec<Row>,
}

impl VisitPeers<u64, u64> for Bytes<'_> {
    fn visit<P: Peer<u64, u64>>(&mut self) {
        self.setup.progress.tell(P::NAME, 1, 1);
        let before = heap::held();
        let peer: P = peer::filled(ENTRIES as usize, ENTRIES, |n| n);
        let (bytes, held) = (heap::held() - before, peer.held());
        let mut row = Row::new(self.bench, P::NAME, 1).with("held", held as f64);
        row.bytes_per_entry = Some(bytes as f64 / held.max(1) as f64);
        self.rows.push(row);
    }
}
