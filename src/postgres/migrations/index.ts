import type { Migration } from 'kysely'
import * as initial from './0001-initial'
import * as replay from './0002-replay'
import * as repairs from './0003-repairs'
import * as partitions from './0004-partitions'
import * as books from './0005-books'
import * as repair from './0006-repair'
import * as comments from './0007-comments'

/** In order. Never change a released migration; add another. */
export const migrations: Record<string, Migration> = {
  '0001-initial': initial,
  '0002-replay': replay,
  '0003-repairs': repairs,
  '0004-partitions': partitions,
  '0005-books': books,
  '0006-repair': repair,
  '0007-comments': comments,
}
