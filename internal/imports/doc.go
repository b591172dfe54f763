// Package imports holds nothing but the test of the import law: what decides reads
// nothing but its arguments, so that the webhook, the reconciler and the CLI cannot
// but decide the same.
package imports
