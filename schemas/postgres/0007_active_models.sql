-- Before anybody wished for a version, the one that the first start took was active: it belongs to the answer as well.
CREATE OR REPLACE VIEW active_models AS
SELECT changed_at AS active_from, lead(changed_at) OVER (ORDER BY changed_at, change_id) AS active_until,
       to_model AS model, to_version AS model_version, to_digest AS digest, changed_by, why
  FROM fraud_model_changes AS change
 WHERE action IN ('activated', 'rolled_back')
    OR (action = 'started' AND NOT EXISTS (
           SELECT FROM fraud_model_changes AS wish
            WHERE wish.action IN ('activated', 'rolled_back') AND wish.changed_at <= change.changed_at));
