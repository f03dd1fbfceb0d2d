-- Which versions were rolled back and not asked for since is read every half second: from the few rows that say so.
CREATE INDEX fraud_model_changes_rolled_back ON fraud_model_changes (changed_at) WHERE action = 'rolled_back';
CREATE INDEX fraud_model_changes_wished ON fraud_model_changes (to_model, to_version, to_digest, changed_at)
 WHERE action IN ('activated', 'rolled_back');
