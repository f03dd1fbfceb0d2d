//! One wish for all instances of the stack: what one is told, the others do within two seconds; the record names both.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::ALONE;
use crate::kafka::Kafka;
use crate::place::Place;
use crate::program::Assay;

/// How long the others may take.
const FOLLOW: Duration = Duration::from_secs(2);

/// The shipped package as a version of a folder.
fn publish(folder: &Path, version: &str) {
    let (from, to) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fraud/1"), folder.join(version));
    std::fs::create_dir_all(&to).unwrap();
    for file in std::fs::read_dir(from).unwrap().flatten().filter(|file| file.path().is_file()) {
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
    let manifest = to.join("manifest.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(manifest, text.replacen("version = \"1\"", &format!("version = \"{version}\""), 1)).unwrap();
}

fn active(instance: &Assay) -> String {
    instance.get("/model").1["model_version"].as_str().unwrap().to_owned()
}

/// How long it takes until the version is active there.
fn until_active(instance: &Assay, version: &str) -> Duration {
    let begun = Instant::now();
    while active(instance) != version {
        assert!(begun.elapsed() < Duration::from_secs(60), "{} is active, not {version}", active(instance));
        std::thread::sleep(Duration::from_millis(20));
    }
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_instance_is_told_the_other_does_within_two_seconds() {
    let _alone = ALONE.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let kafka = tokio::task::spawn_blocking(Kafka::start).await.unwrap();
    let place = Place::new().await;
    let versions = folder.path().join("versions");
    publish(&versions, "1");
    publish(&versions, "2");
    let directory = versions.display().to_string();
    let more = [("ASSAY__MODEL__DIRECTORY", directory.as_str()), ("ASSAY__MODELS__LATENCY_BUDGET", "10s")];
    tokio::task::block_in_place(|| {
        let one = Assay::start(&kafka, &place, folder.path(), &more);
        let other = Assay::start(&kafka, &place, folder.path(), &more);
        assert_eq!((active(&one), active(&other)), ("2".into(), "2".into()));
        // Loaded on both, so that the time is that of the wish.
        for instance in [&one, &other] {
            let (status, said) = instance.models(&["verify", "fraud/1"]);
            assert_eq!(status, 0, "{said}");
        }
        let (status, said) = one.models(&["activate", "fraud/1", "--by", "ann", "--why", "a test"]);
        assert_eq!((status, active(&one)), (0, "1".into()), "{said}");
        let took = until_active(&other, "1");
        assert!(took < FOLLOW, "{took:?}");
        let (status, said) = other.models(&["rollback", "--by", "ann", "--why", "a test"]);
        assert_eq!((status, active(&other)), (0, "2".into()), "{said}");
        let took = until_active(&one, "2");
        assert!(took < FOLLOW, "{took:?}");
        let history = one.models(&["history"]).1;
        assert!(history.contains("followed_back") && history.contains("ann"), "{history}");
        // A new instance takes what all want, not what lies newest in the folder.
        let (status, said) = one.models(&["activate", "fraud/1", "--by", "ann", "--why", "a test"]);
        assert_eq!(status, 0, "{said}");
        until_active(&other, "1");
        assert_eq!(active(&Assay::start(&kafka, &place, folder.path(), &more)), "1");
    });
    // What was wanted when is one query.
    let moves = place.count("SELECT count(*) FROM assay.active_models WHERE changed_by = 'ann'").await;
    assert_eq!(moves, 3);
    let now = "SELECT model_version::bigint FROM assay.active_models WHERE active_until IS NULL";
    assert_eq!(place.count(now).await, 1);
}
