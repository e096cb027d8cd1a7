import { storeConformance } from '../../test/support/store-conformance.ts';
import { MemoryStore } from './memory-store.ts';

storeConformance('MemoryStore', () => new MemoryStore());
