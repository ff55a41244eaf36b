package migrations

// OperatorLock is the advisory lock, to be held for a transaction, on which
// everything queues that changes an installation with the owner's URL.
const OperatorLock = int64(lockKey)
