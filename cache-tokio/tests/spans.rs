//! Loads run in the span of who started them.

use std::time::Duration;

use cache_tokio::future::Cache;
use tracing::instrument::WithSubscriber;
use tracing::{Instrument, Span};

#[tokio::test]
async fn a_load_inherits_the_span_of_its_leader() {
    let work = async {
        let cache: Cache<u8, Option<u64>> =
            Cache::builder().ttl(Duration::from_secs(60)).build().unwrap();
        let span = tracing::info_span!("a request");
        let id = span.id().map(|id| id.into_u64());
        assert!(id.is_some(), "somebody listens");
        let seen = async {
            let load = || async { Ok::<_, String>(Span::current().id().map(|id| id.into_u64())) };
            cache.get_or_load(&1, load).await
        };
        assert_eq!(seen.instrument(span).await.unwrap(), id);
    };
    work.with_subscriber(tracing_subscriber::registry()).await;
}
