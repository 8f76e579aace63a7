/*
 * Keeps a file of a buffer open on Windows, the way scanners, backups and readers do, until its standard input ends.
 *
 *   holder.exe PATH [r][w][d][m]
 *
 * The letters say what others may do meanwhile: read, write, delete (rename and replace, too). Without one of them nobody else
 * can open the file. `m` maps the file and closes it: then it can't be cut. Prints "held", or "error N" if that fails.
 */

#include <stdio.h>
#include <string.h>
#include <windows.h>

static int fail(void) {
  printf("error %lu\n", GetLastError());
  return 1;
}

int wmain(int count, wchar_t **arguments) {
  if (count < 2) return 2;
  const wchar_t *letters = count > 2 ? arguments[2] : L"";
  DWORD sharing = (wcschr(letters, L'r') ? FILE_SHARE_READ : 0) | (wcschr(letters, L'w') ? FILE_SHARE_WRITE : 0) |
                  (wcschr(letters, L'd') ? FILE_SHARE_DELETE : 0);
  HANDLE file = CreateFileW(arguments[1], GENERIC_READ, sharing, NULL, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL);
  if (file == INVALID_HANDLE_VALUE) return fail();
  if (wcschr(letters, L'm')) {
    HANDLE mapping = CreateFileMappingW(file, NULL, PAGE_READONLY, 0, 0, NULL);
    if (mapping == NULL || MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0) == NULL) return fail();
    CloseHandle(file);
  }
  puts("held");
  fflush(stdout);
  while (getchar() != EOF) {
  }
  return 0;
}
