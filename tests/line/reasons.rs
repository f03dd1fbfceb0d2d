//! Reasons: when they are told, that they add up, that they hold up nobody, and that what is hidden stays hidden.

use assay::engine::ports::Log as _;

use super::*;

fn asked() -> Received {
    Received { explain: true, ..soon() }
}

fn codes(decision: &Decision) -> Vec<&str> {
    decision.reasons.iter().map(|reason| reason.code.as_str()).collect()
}

/// Holds the sum of what is told against the margin.
fn adds_up(decision: &Decision) {
    let explanation = decision.explanation.unwrap();
    let told: f64 = decision.reasons.iter().filter_map(|reason| reason.contribution).sum();
    let gap = explanation.baseline + told + explanation.other - explanation.margin;
    assert!(gap.abs() < 1e-9, "{decision:?}");
}

#[tokio::test]
async fn flagged_decisions_say_why() {
    let house = house().await;
    let answer = house.engine.decide(transaction("a", 0, 90_000), soon()).await.unwrap();
    let decision = &answer.decision;
    assert!(decision.flagged && decision.score == Some(0.9) && !decision.degraded);
    assert_eq!(codes(decision), ["amount", "customer_tx_count_1d", "new_customer"]);
    let reason = &decision.reasons[0];
    assert_eq!((reason.value, reason.contribution), (Some(900.0), Some(90.0)));
    assert_eq!(
        reason.message,
        "amount of this transaction in the base currency: 900.00 (usually 25.00), raises the risk"
    );
    adds_up(decision);
    let stored = house.log.find("a").await.unwrap().unwrap().decision.unwrap();
    assert_eq!(stored, **decision);
}

#[tokio::test]
async fn reasons_are_told_on_request() {
    let house = house().await;
    let plain = house.engine.decide(transaction("a", 0, 700), soon()).await.unwrap().decision;
    assert_eq!((codes(&plain), plain.explanation), (vec!["new_customer"], None));
    assert_eq!(house.model.explained.load(Ordering::SeqCst), 0, "nobody asked");
    let told = house.engine.decide(transaction("b", 1, 700), asked()).await.unwrap().decision;
    assert!(!told.flagged);
    assert_eq!(codes(&told)[..2], ["amount", "customer_tx_count_1d"]);
    adds_up(&told);

    // A copy that asks is told by the stored features; the record stays as it was.
    let again = house.engine.decide(transaction("a", 0, 700), asked()).await.unwrap();
    assert!(again.repeated);
    assert_eq!(codes(&again.decision), ["amount", "customer_tx_count_1d", "new_customer"]);
    assert_eq!(again.decision.reasons[0].value, Some(7.0));
    adds_up(&again.decision);
    assert_eq!(house.engine.decision("a", None).await.unwrap().unwrap(), plain);
    let later = house.engine.explain(plain).await;
    assert_eq!(later, again.decision);
    // What has its reasons is not explained again.
    let count = house.model.explained.load(Ordering::SeqCst);
    assert_eq!(house.engine.explain(told.clone()).await, told);
    assert_eq!(house.model.explained.load(Ordering::SeqCst), count);
}

#[tokio::test]
async fn a_model_that_is_gone_explains_nothing_and_says_so() {
    let house = house().await;
    let decision = house.engine.decide(transaction("a", 0, 700), soon()).await.unwrap().decision;
    let other = Scored { version: "2", ..Arc::into_inner(model()).unwrap() };
    house.engine.activate(Arc::new(other)).unwrap();
    let later = house.engine.explain(decision).await;
    assert_eq!((codes(&later), later.explanation), (vec!["new_customer", "model_not_loaded"], None));
    assert!(!later.degraded);
    assert_eq!(house.engine.explain(later.clone()).await, later, "said once");
}

#[tokio::test]
async fn a_fallback_has_its_own_reason() {
    let house = house_of(|parts| parts.policy.overload = OnFallback::FailOpen).await;
    house.model.set(Scores::Full);
    let fallback = house.engine.decide(transaction("a", 0, 700), asked()).await.unwrap().decision;
    assert_eq!((codes(&fallback), fallback.explanation), (vec!["overload"], None));
    assert_eq!(house.engine.explain(fallback.clone()).await, fallback);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explanations_that_are_slow_or_refused_hold_up_nobody() {
    for slow in [Scores::Never, Scores::Full] {
        let house = house_of(|parts| parts.limits.explain_wait = Duration::from_millis(150)).await;
        *house.model.reasons.lock().unwrap() = slow;
        let begun = Instant::now();
        let engine = house.engine.clone();
        let flagged = tokio::spawn(async move { engine.decide(transaction("slow", 0, 90_000), soon()).await.unwrap() });
        if slow == Scores::Never {
            while house.model.explained.load(Ordering::SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
            // While it is being explained, others are decided.
            for number in 0..100 {
                let other = house.engine.decide(transaction(&format!("n{number}"), 1, 700), soon()).await.unwrap();
                assert_eq!(other.decision.kind, DecisionKind::Full);
            }
        }
        let decision = flagged.await.unwrap().decision;
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
        assert_eq!((decision.score, decision.flagged, decision.kind), (Some(0.9), true, DecisionKind::Full));
        assert_eq!((codes(&decision), decision.degraded), (vec!["new_customer", "reasons_unavailable"], false));
        assert_eq!(decision.explanation, None);
        // Later it can be told.
        *house.model.reasons.lock().unwrap() = Scores::Amount;
        let later = house.engine.explain(decision).await;
        assert_eq!(codes(&later), ["amount", "customer_tx_count_1d", "new_customer"]);
        adds_up(&later);
    }
}

#[tokio::test]
async fn no_wait_means_no_reasons() {
    let house = house_of(|parts| parts.limits.explain_wait = Duration::ZERO).await;
    let decision = house.engine.decide(transaction("a", 0, 90_000), asked()).await.unwrap().decision;
    assert_eq!((codes(&decision), decision.explanation), (vec!["new_customer"], None));
    assert_eq!(house.model.explained.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn groups_are_told_without_values() {
    let house = house_of(|parts| parts.reasons.by = By::Group).await;
    let decision = house.engine.decide(transaction("a", 0, 90_000), soon()).await.unwrap().decision;
    assert_eq!(codes(&decision), ["amount", "customer_velocity", "new_customer"]);
    assert!(decision.reasons.iter().all(|reason| reason.value.is_none()));
    assert_eq!(decision.reasons[1].message, "how often the customer paid of late: raises the risk");
    adds_up(&decision);
}

#[tokio::test]
async fn what_is_hidden_leaks_nowhere() {
    let hide = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    for (by, hidden) in [
        (By::Feature, hide(&["customer_tx_count_1d"])),
        (By::Feature, hide(&["customer_velocity"])),
        (By::Group, hide(&["customer_tx_count_1d"])),
        (By::Group, hide(&["customer_velocity"])),
    ] {
        let log = Arc::new(MemoryLog::new());
        let open = async |rules: ReasonRules| {
            let parts = EngineParts { reasons: rules, ..parts(log.clone(), Some(model())) };
            let engine = Engine::new(parts).unwrap();
            engine.rebuild().await.unwrap();
            engine
        };
        // A contribution that is nobody else's: the customer's 7th transaction moves the margin by 0.7.
        let before = open(ReasonRules { most: 3, by, hidden: BTreeSet::new() }).await;
        for number in 0..6 {
            before.decide(transaction(&format!("n{number}"), number, 100), soon()).await.unwrap();
        }
        let told = before.decide(transaction("open", 6, 90_000), soon()).await.unwrap().decision;
        assert!(told.reasons.iter().any(|reason| reason.code.starts_with("customer_")), "{told:?}");
        drop(before);

        let one = hidden.contains("customer_tx_count_1d");
        let engine = open(ReasonRules { most: 3, by, hidden }).await;
        let house = engine.decide(transaction("hidden", 7, 90_000), soon()).await.unwrap().decision;
        assert_eq!(codes(&house), ["amount"]);
        adds_up(&house);
        let mut answers = vec![serde_json::to_string(&*house).unwrap()];
        answers.push(serde_json::to_string(&log.find("hidden").await.unwrap().unwrap().decision).unwrap());
        // A sum over a group names nothing of what is in it: told before, it stays.
        let known: &[&str] = if by == By::Group && one { &["n5", "hidden"] } else { &["n5", "hidden", "open"] };
        for id in known {
            let decision = engine.decision(id, None).await.unwrap().unwrap();
            answers.push(serde_json::to_string(&*decision).unwrap());
            let later = engine.explain(decision).await;
            adds_up(&later);
            answers.push(serde_json::to_string(&*later).unwrap());
            answers.push(engine.features(id, None).await.unwrap().unwrap().to_string());
        }
        for answer in &answers {
            for leak in ["customer_tx_count_1d", "customer_velocity", "transactions of this customer", "how often"] {
                assert!(!answer.contains(leak), "{by:?}: {leak} in {answer}");
            }
        }
    }
}
