export { DuckDBInstance, type DuckDBConnection } from '@duckdb/node-api';
