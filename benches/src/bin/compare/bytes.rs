//! The heap that entries take.

use cache_benches::heap;
use cache_benches::peer::{self, Peer};
use cache_benches::peers::{self, Ours, VisitPeers};
use cache_benches::row::Row;

use crate::Setup;

const ENTRIES: u64 = 1_000_000;

pub(crate) fn bytes(setup: &Setup, bench: &'static str) -> Vec<Row> {
    let mut bytes = Bytes { setup, bench, rows: vec![] };
    peers::everyone(&setup.request, &mut bytes);
    let mut rows = bytes.rows;
    if setup.request.wants("ours") {
        rows.push(churn(setup, bench));
    }
    rows
}

/// Ten times as many keys as there is room for, one after another.
fn churn(setup: &Setup, bench: &'static str) -> Row {
    const NAME: &str = "ours_churn";
    setup.progress.tell(NAME, 1, 1);
    let before = heap::held();
    let cache: Ours<u64, u64> = peer::filled(ENTRIES as usize, 10 * ENTRIES, |n| n);
    let bytes = heap::held() - before;
    let mut row = Row::new(bench, NAME, 1).with("held", cache.len() as f64);
    row.bytes_per_entry = Some(bytes as f64 / ENTRIES as f64);
    row
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
